import { parseArgs } from "node:util";
import { parseDuration } from "./duration.ts";
import { errorMessage, FleetError } from "./errors.ts";

/** An option as it was given. Flags have no value. */
export interface GivenOption {
  readonly name: string;
  readonly value: string | undefined;
}

/** The options of a command line in their order. `values` take one, `flags` none. Throws `usage` for all else. */
export function readOptions(
  args: readonly string[],
  known: { readonly values: readonly string[]; readonly flags: readonly string[] },
): readonly GivenOption[] {
  const options = Object.fromEntries([
    ...known.values.map((name) => [name, { type: "string", multiple: true }] as const),
    ...known.flags.map((name) => [name, { type: "boolean", multiple: true }] as const),
  ]);
  try {
    const { tokens } = parseArgs({ args: [...args], options, tokens: true, strict: true });
    return tokens.flatMap((token) =>
      token.kind === "option" ? [{ name: token.name, value: token.value }] : [],
    );
  } catch (error) {
    const [first = ""] = errorMessage(error).split(/[.\n] ?/);
    throw new FleetError("usage", first.replaceAll("'", '"'), { cause: error });
  }
}

/** Values of options; the last one counts where there should be one. Throws `usage`. */
export class OptionReader {
  readonly #given: readonly GivenOption[];

  constructor(given: readonly GivenOption[]) {
    this.#given = given;
  }

  all(name: string): readonly string[] {
    return this.#given.flatMap((option) => (option.name === name ? (option.value ?? []) : []));
  }

  text(name: string): string | undefined {
    return this.all(name).at(-1);
  }

  flag(name: string): boolean {
    return this.#given.some((option) => option.name === name);
  }

  count(
    name: string,
    fallback: number,
    limits: { readonly min?: number; readonly max: number },
  ): number {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    const { min = 0, max } = limits;
    if (value >= min && value <= max) return value;
    throw new FleetError("usage", `--${name} "${text}" is no number from ${min} to ${max}`);
  }

  duration(name: string, fallback: number, limits: { readonly minMs?: number } = {}): number {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const durationMs = text === "0" ? 0 : parseDuration(text);
    if (durationMs === undefined)
      throw new FleetError("usage", `--${name} "${text}" is no time: write e.g. 5s or 500ms`);
    if (durationMs < (limits.minMs ?? 0))
      throw new FleetError("usage", `--${name} ${text} is too short: at least ${limits.minMs}ms`);
    return durationMs;
  }
}
