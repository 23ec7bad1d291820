const TAB_WIDTH = 8;
const SURROGATE = /[\ud800-\udfff]/;

export interface Column<Row> {
  /** As in `--fields`; the header is its upper case. */
  readonly field: string;
  readonly value: (row: Row) => string;
}

/**
 * Columns separated by tab characters, as many as bring the next column to the same multiple of eight everywhere: what fleet's
 * tables looked like, and what `cut -f` and awk scripts took apart. `style` colours a cell without changing the columns.
 */
export function renderTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  options: {
    readonly legend: boolean;
    readonly style?: ((text: string, field: string) => string) | undefined;
  },
): string {
  const header = columns.map(({ field }) => field.toUpperCase());
  const lines = rows.map((row) => columns.map(({ value }) => value(row)));
  const measured = options.legend ? [header, ...lines] : lines;
  const widths = columns.map((_, index) => {
    const widest = Math.max(0, ...measured.map((cells) => widthOf(cells[index] ?? "")));
    return Math.ceil((widest + 1) / TAB_WIDTH) * TAB_WIDTH;
  });
  return measured
    .map((cells) => {
      const styled = cells.map((text, index) => {
        const field = columns[index]?.field ?? "";
        const shown = cells === header ? text : (options.style?.(text, field) ?? text);
        const last = index === cells.length - 1;
        return last ? shown : shown + tabs(widthOf(text), widths[index] ?? 0);
      });
      return `${styled.join("")}\n`;
    })
    .join("");
}

function tabs(textWidth: number, columnWidth: number): string {
  return "\t".repeat(Math.ceil((columnWidth - textWidth) / TAB_WIDTH));
}

/** In code points; only a text with surrogates has fewer of them than code units. */
function widthOf(text: string): number {
  return SURROGATE.test(text) ? [...text].length : text.length;
}
