import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Manifest } from "../units/manifest.ts";

export interface AnalyzedUnit {
  readonly name: string;
  /** What the user calls it. */
  readonly path: string;
  readonly manifest: Manifest;
}

export interface Analysis {
  /** False: there is no systemd-analyze here. */
  readonly isThere: boolean;
  /** What it says of each unit; nothing of those it has nothing to say of. */
  readonly byUnit: ReadonlyMap<string, readonly string[]>;
}

const DEADLINE_MS = 60_000;
const OUTPUT_BYTES_MAX = 1024 * 1024;

/**
 * Asks `systemd-analyze verify`, on copies that lie in one directory, so that units find one another there. Whether it fails says little: programs that
 * are missing on this machine may be there on those that matter.
 */
export async function analyzeUnits(
  units: readonly AnalyzedUnit[],
  signal: AbortSignal,
): Promise<Analysis> {
  const directory = await mkdtemp(join(tmpdir(), "fleetctl-verify-"));
  try {
    for (const { name, manifest } of units) await writeUnit(join(directory, name), manifest);
    const byUnit = new Map<string, readonly string[]>();
    for (const { name, path } of units) {
      const output = await run(["verify", "--man=no", join(directory, name)], signal);
      if (output === undefined) return { isThere: false, byUnit };
      const lines = output
        .replaceAll(join(directory, name), path)
        .replaceAll(`${directory}/`, "")
        .split("\n")
        .filter((line) => line.trim() !== "");
      if (lines.length > 0) byUnit.set(name, lines);
    }
    return { isThere: true, byUnit };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function writeUnit(file: string, { content, dropIns }: Manifest): Promise<void> {
  await writeFile(file, content);
  if (dropIns.length > 0) await mkdir(`${file}.d`);
  for (const dropIn of dropIns) await writeFile(join(`${file}.d`, dropIn.name), dropIn.content);
}

/** Both outputs together; undefined without such a program. */
function run(args: readonly string[], signal: AbortSignal): Promise<string | undefined> {
  const options = { signal, timeout: DEADLINE_MS, maxBuffer: OUTPUT_BYTES_MAX };
  return new Promise((resolve, reject) => {
    execFile("systemd-analyze", [...args], options, (error, stdout, stderr) => {
      if (error?.name === "AbortError") reject(error);
      else if (error?.code === "ENOENT") resolve(undefined);
      else if (error?.killed === true) {
        resolve(`${stdout}${stderr}systemd-analyze took more than ${DEADLINE_MS / 1000} s`);
      } else resolve(`${stdout}${stderr}`);
    });
  });
}
