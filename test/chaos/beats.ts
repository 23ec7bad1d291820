import type { Lab } from "../support/lab.ts";

/** One process of a unit, from its first to its last sign of life. */
export interface Life {
  readonly unit: string;
  readonly machine: number;
  readonly pid: string;
  readonly firstMs: number;
  lastMs: number;
  /** Its first sign was that of its start. */
  readonly isStart: boolean;
}

/** Read from the journals of all machines, all boots, in order of time. */
export async function lives(
  lab: Lab,
): Promise<{ readonly lives: readonly Life[]; readonly beats: number }> {
  const found: Life[] = [];
  let beats = 0;
  for (const machine of lab.machines) {
    const args = ["-u", "chaos-*", "-o", "json", "--output-fields=MESSAGE,_SYSTEMD_UNIT,_BOOT_ID"];
    const now = new Map<string, Life>();
    for (const line of (await lab.journal(machine, ...args)).split("\n")) {
      const match = /"(up|beat) (\d+) ([\d.]+)"/.exec(line);
      const unit = /"_SYSTEMD_UNIT":"([^"]+)"/.exec(line)?.[1];
      if (match === null || unit === undefined) continue;
      const [, word, pid = "", seconds] = match;
      const atMs = Number(seconds) * 1_000;
      beats += 1;
      const key = `${unit} ${pid} ${/"_BOOT_ID":"([^"]+)"/.exec(line)?.[1]}`;
      const known = word === "up" ? undefined : now.get(key);
      if (known !== undefined) known.lastMs = Math.max(known.lastMs, atMs);
      else {
        const life = { unit, machine, pid, firstMs: atMs, lastMs: atMs, isStart: word === "up" };
        now.set(key, life);
        found.push(life);
      }
    }
  }
  return { lives: found.sort((a, b) => a.firstMs - b.firstMs), beats };
}

/** Pairs of lives of one unit on two machines at once, the older one first. */
export function overlaps(
  all: readonly Life[],
): readonly { readonly older: Life; readonly younger: Life; readonly ms: number }[] {
  return all.flatMap((older, index) =>
    all
      .slice(index + 1)
      .filter(
        (younger) =>
          younger.unit === older.unit &&
          younger.machine !== older.machine &&
          younger.firstMs < older.lastMs,
      )
      .map((younger) => ({
        older,
        younger,
        ms: Math.min(older.lastMs, younger.lastMs) - younger.firstMs,
      })),
  );
}
