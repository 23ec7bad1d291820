import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";

/** Node's modules that a command loads when it needs them: HTTP, TLS, files, other processes. */
const KEPT =
  /^(?:internal\/)?_?(?:https?(?:_|$)|tls|crypto|js_stream|child_process|dgram|socket_list|dns|readline|fs\/(?:promises|dir|watchers))/;

/** How a snapshot begins (node_snapshotable.cc): a magic number, that it is not Node's own, Node's version. */
const { node } = process.versions;
const BEGINNING = Buffer.concat([
  Buffer.from([0x19, 0xda, 0x43, 0x01, 1]),
  Buffer.from(BigUint64Array.of(BigInt(node.length)).buffer),
  Buffer.from(node),
]);
const NAME_BYTES_MAX = 200;

interface Entry {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/**
 * Takes most of the code cache out of an executable with a snapshot. Node puts the compiled form of all its modules there, 4 MB that every start copies, which is a sixth
 * of its time. Half of them are in the snapshot anyway, and most others are never loaded.
 */
export function thinCodeCache(executable: string): void {
  const bytes = readFileSync(executable);
  const start = bytes.indexOf(BEGINNING);
  assert(start !== -1 && bytes.indexOf(BEGINNING, start + 1) === -1, "there is one snapshot");
  const end = start + lengthAt(bytes, start - 8);
  const entries = findEntries(bytes, { start, end });
  const kept = entries.filter(({ name }) => KEPT.test(name));
  const [first] = entries;
  assert(first !== undefined && kept.length > 0, "the code cache is where Node puts it");
  bytes.writeBigUInt64LE(BigInt(kept.length), first.from - 8);
  let to = first.from;
  for (const entry of kept) to += bytes.copy(bytes, to, entry.from, entry.to);
  writeFileSync(executable, bytes.fill(0, to, end));
}

/** The last part of the snapshot, whatever is before it. */
function findEntries(bytes: Buffer, range: { start: number; end: number }): readonly Entry[] {
  for (let at = range.start; at < range.end - 8; at += 1) {
    const entries = readEntries(bytes, at, range.end);
    if (entries.length > 0) return entries;
  }
  return [];
}

/** A number, then so many times a name and compiled code, each after its length. None where something else is there. */
function readEntries(bytes: Buffer, at: number, end: number): readonly Entry[] {
  const count = lengthAt(bytes, at);
  const entries: Entry[] = [];
  let from = at + 8;
  while (entries.length < count) {
    const name = from + 8;
    const nameEnd = name + (name < end ? lengthAt(bytes, from) : end);
    if (nameEnd > name + NAME_BYTES_MAX || nameEnd + 8 > end) return [];
    const to = nameEnd + 8 + lengthAt(bytes, nameEnd);
    if (to > end) return [];
    entries.push({ name: bytes.toString("latin1", name, nameEnd), from, to });
    from = to;
  }
  return from === end ? entries : [];
}

function lengthAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}
