import { FleetError } from "../runtime/errors.ts";

/** One thing that is wrong with a unit, with the place an editor can jump to. */
export interface UnitProblem {
  /** Unit name, or `<unit>.d/<drop-in>`; a path where the client reads the file itself. */
  readonly file: string;
  /** From 1. Undefined: the unit as a whole. */
  readonly line: number | undefined;
  /** From 1, in characters. Undefined: the line as a whole. */
  readonly column: number | undefined;
  readonly message: string;
}

/** `web.service:7:3: message`, the form editors and terminals know. */
export function problemText(problem: UnitProblem): string {
  const place = [problem.file, problem.line, problem.column].filter((part) => part !== undefined);
  return `${place.join(":")}: ${problem.message}`;
}

/** A unit was refused. The message names the first problem, `problems` has all that were found. */
export class UnitFileError extends FleetError {
  readonly problems: readonly UnitProblem[];

  constructor(problems: readonly [UnitProblem, ...UnitProblem[]]) {
    super("unit-invalid", problemText(problems[0]));
    this.name = "UnitFileError";
    this.problems = problems;
  }

  get file(): string | undefined {
    return this.problems[0]?.file;
  }

  get line(): number | undefined {
    return this.problems[0]?.line;
  }

  get column(): number | undefined {
    return this.problems[0]?.column;
  }
}

/** Throws if there is any problem. */
export function assertNoProblems(problems: readonly UnitProblem[]): void {
  const [first, ...rest] = problems;
  if (first !== undefined) throw new UnitFileError([first, ...rest]);
}

/** Text of a user's file inside a message: quoted, control characters visible, at most 60 characters. */
export function excerpt(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}
