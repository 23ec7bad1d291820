import assert from "node:assert/strict";

/** As long as a file name may be, with room for what a write adds to it. */
const SEGMENT_BYTES_MAX = 255;

/**
 * Names of records come from unit names at most, which cannot have a slash: any other name is a mistake of the program. A segment with a dot
 * in front would be taken for a write that has not ended.
 */
export function assertRecordName(name: string): void {
  const segments = name.split("/");
  assert(segments.length <= 2 && segments.every(isSegment), `not the name of a record: ${name}`);
}

export function assertRecordFolder(folder: string): void {
  assert(isSegment(folder), `not a folder of records: ${folder}`);
}

function isSegment(segment: string): boolean {
  return (
    segment !== "" &&
    !segment.startsWith(".") &&
    !/[\0/]/.test(segment) &&
    Buffer.byteLength(segment) <= SEGMENT_BYTES_MAX
  );
}
