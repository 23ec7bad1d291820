import fc from "fast-check";

const LAST = 0x10ffff;
const SURROGATES_FROM = 0xd800;
const SURROGATES = 0x800;

/** One code point, as text. The same as fast-check's own unit "binary", which begins with a table of all million of them: a second in every process. */
export const codePoint = fc.nat({ max: LAST - SURROGATES }).map(
  (index) => String.fromCodePoint(index < SURROGATES_FROM ? index : index + SURROGATES),
  (text) => {
    const point = typeof text === "string" ? text.codePointAt(0) : undefined;
    if (point === undefined || text !== String.fromCodePoint(point)) {
      throw new RangeError("is not one code point");
    }
    return point < SURROGATES_FROM ? point : point - SURROGATES;
  },
);
