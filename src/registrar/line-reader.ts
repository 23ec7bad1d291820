/** Cuts what comes in into lines; undefined once a line is longer than it may be. */
export class LineReader {
  readonly #bytesMax: number;
  #rest = "";

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  take(chunk: string): readonly string[] | undefined {
    const parts = (this.#rest + chunk).split("\n");
    this.#rest = parts.pop() ?? "";
    if (this.#rest.length > this.#bytesMax) return undefined;
    return parts.filter((part) => part !== "");
  }
}
