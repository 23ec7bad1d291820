import type { Random } from "../src/runtime/random.ts";

/** One file `NAME.bench.ts` exports one of these as `bench`; bench/main.ts finds it by its name. */
export interface Bench {
  /** One line for the list of benches. */
  readonly about: string;
  /** By result name: what to compare with, a peer's figure or the target. Shown beside the median. */
  readonly references: Readonly<Record<string, string>>;
  run(context: BenchContext): Promise<void>;
}

export interface BenchContext {
  /** How often each figure is taken. */
  readonly rounds: number;
  /** How long what is measured over time is watched, if the caller said so: shorter for trial runs. */
  readonly seconds: number | undefined;
  /** Seeded, so that a run can be repeated. */
  readonly random: Random;
  record(sample: Sample): void;
  /** Progress, for whoever waits. */
  note(text: string): void;
}

export interface Sample {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
}

export interface Result {
  readonly name: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly n: number;
}

/** Results in the order in which their names were first recorded. */
export function summarize(samples: readonly Sample[]): readonly Result[] {
  const byName = Map.groupBy(samples, (sample) => sample.name);
  return [...byName].map(([name, group]) => {
    const values = group.map((sample) => sample.value).sort((a, b) => a - b);
    return {
      name,
      unit: group[0]?.unit ?? "",
      median: round(median(values)),
      min: round(values[0] ?? Number.NaN),
      max: round(values.at(-1) ?? Number.NaN),
      n: values.length,
    };
  });
}

function median(sorted: readonly number[]): number {
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Three decimals: a millisecond where the unit is a second. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

export function table(results: readonly Result[], references: Bench["references"]): string {
  const rows = [
    ["NAME", "MEDIAN", "MIN", "MAX", "N", "UNIT", "COMPARE WITH"],
    ...results.map((result) => [
      result.name,
      ...[result.median, result.min, result.max, result.n].map(String),
      result.unit,
      references[result.name] ?? "-",
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
