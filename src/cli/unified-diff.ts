const CONTEXT_LINES = 3;
/** Product of the line counts beyond which texts that differ are taken to have nothing in common. */
const CELLS_MAX = 4_000_000;

interface Edit {
  readonly mark: " " | "-" | "+";
  readonly line: string;
}

/** As `diff -u` prints it; empty when both are equal. */
export function unifiedDiff(options: {
  readonly before: string;
  readonly after: string;
  readonly beforeName: string;
  readonly afterName: string;
}): string {
  const { before, after } = options;
  if (before === after) return "";
  const edits = editsOf(linesOf(before), linesOf(after));
  const hunks = hunksOf(edits).map((hunk) => hunkText(edits, hunk));
  return `--- ${options.beforeName}\n+++ ${options.afterName}\n${hunks.join("")}`;
}

/** A last line without an end differs from one with it. */
function linesOf(text: string): readonly string[] {
  const lines = text.split("\n");
  const rest = lines.pop() ?? "";
  return rest === "" ? lines : [...lines, `${rest}\n\\ No newline at end of file`];
}

/** By the longest common subsequence of what is left between equal beginnings and ends. */
function editsOf(before: readonly string[], after: readonly string[]): readonly Edit[] {
  let start = 0;
  while (start < Math.min(before.length, after.length) && before[start] === after[start])
    start += 1;
  let tail = 0;
  const most = Math.min(before.length, after.length) - start;
  while (tail < most && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  const same = (line: string): Edit => ({ mark: " ", line });
  return [
    ...before.slice(0, start).map(same),
    ...middleEdits(
      before.slice(start, before.length - tail),
      after.slice(start, after.length - tail),
    ),
    ...before.slice(before.length - tail).map(same),
  ];
}

function middleEdits(before: readonly string[], after: readonly string[]): readonly Edit[] {
  const width = after.length + 1;
  const edits: Edit[] = [];
  const lengths = new Uint32Array(
    before.length * after.length > CELLS_MAX ? 0 : (before.length + 1) * width,
  );
  const common = (i: number, j: number) => lengths[i * width + j] ?? 0;
  for (let i = before.length - 1; i >= 0 && lengths.length > 0; i -= 1) {
    for (let j = after.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] =
        before[i] === after[j]
          ? common(i + 1, j + 1) + 1
          : Math.max(common(i + 1, j), common(i, j + 1));
    }
  }
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    const [old, new_] = [before[i], after[j]];
    if (old !== undefined && old === new_ && lengths.length > 0) {
      edits.push({ mark: " ", line: old });
      i += 1;
      j += 1;
    } else if (old !== undefined && (new_ === undefined || common(i + 1, j) >= common(i, j + 1))) {
      edits.push({ mark: "-", line: old });
      i += 1;
    } else if (new_ !== undefined) {
      edits.push({ mark: "+", line: new_ });
      j += 1;
    }
  }
  return edits;
}

interface Hunk {
  readonly from: number;
  readonly to: number;
}

/** Ranges of edits with their surroundings; those that touch are one. */
function hunksOf(edits: readonly Edit[]): readonly Hunk[] {
  const hunks: Hunk[] = [];
  for (const [index, { mark }] of edits.entries()) {
    if (mark === " ") continue;
    const from = Math.max(0, index - CONTEXT_LINES);
    const to = Math.min(edits.length, index + CONTEXT_LINES + 1);
    const last = hunks.at(-1);
    if (last !== undefined && from <= last.to) hunks[hunks.length - 1] = { from: last.from, to };
    else hunks.push({ from, to });
  }
  return hunks;
}

function hunkText(edits: readonly Edit[], { from, to }: Hunk): string {
  const count = (part: readonly Edit[], mark: Edit["mark"]) =>
    part.filter((edit) => edit.mark !== mark).length;
  const [before, hunk] = [edits.slice(0, from), edits.slice(from, to)];
  const range = (mark: Edit["mark"]) => {
    const length = count(hunk, mark);
    const start = count(before, mark) + (length === 0 ? 0 : 1);
    return length === 1 ? String(start) : `${start},${length}`;
  };
  const lines = hunk.map(({ mark, line }) => `${mark}${line}\n`).join("");
  return `@@ -${range("+")} +${range("-")} @@\n${lines}`;
}
