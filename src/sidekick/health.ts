import type { Health } from "../services/endpoint.ts";

export interface Verdict {
  readonly health: Extract<Health, "passing" | "failing">;
  /** Why it is failing. */
  readonly detail: string;
  /** Results in a row that speak against `health`. */
  readonly against: number;
  /** Whether it has passed ever: until then one good result is enough. */
  readonly hasPassed: boolean;
}

export const UNCHECKED: Verdict = {
  health: "failing",
  detail: "not checked yet",
  against: 0,
  hasPassed: false,
};

export type CheckResult =
  | { readonly ok: true }
  /** `why`: lower case, one line. */
  | { readonly ok: false; readonly why: string };

/** So many results in a row turn the verdict. */
export interface Patience {
  readonly rise: number;
  readonly fall: number;
}

export function judge(before: Verdict, result: CheckResult, { rise, fall }: Patience): Verdict {
  const { health, hasPassed } = before;
  if (result.ok) {
    if (health === "passing") return { ...before, against: 0 };
    const against = before.against + 1;
    if (hasPassed && against < rise) return { ...before, against };
    return { health: "passing", detail: "", against: 0, hasPassed: true };
  }
  if (health === "failing") return { ...before, detail: result.why, against: 0 };
  const against = before.against + 1;
  if (against < fall) return { ...before, against };
  return { health: "failing", detail: result.why, against: 0, hasPassed };
}

/** Doubt is cleared up quickly: four times as often as usual, as long as results speak against the verdict. */
export function nextCheckMs({ against }: Verdict, intervalMs: number): number {
  return against > 0 ? intervalMs / 4 : intervalMs;
}
