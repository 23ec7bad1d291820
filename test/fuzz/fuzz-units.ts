import assert from "node:assert/strict";
import { readRequirements } from "../../src/cluster/read-requirements.ts";
import type { Random } from "../../src/runtime/random.ts";
import { parseGlob } from "../../src/units/glob.ts";
import {
  effectiveHash,
  hasInstallSection,
  type Manifest,
  manifestHash,
  validateManifest,
} from "../../src/units/manifest.ts";
import { expandMachineSpecifiers } from "../../src/units/specifiers.ts";
import { decodeUnitText, printUnitFile, scanUnitFile } from "../../src/units/unit-file.ts";
import { contentFromOptions, fleetOptions, unitHash } from "../../src/units/unit-hash.ts";
import { UnitFileError } from "../../src/units/unit-problem.ts";

/** A unit as somebody might send it: nothing about it is known to be good. */
export interface FuzzInput {
  readonly unit: string;
  readonly files: readonly Uint8Array[];
  readonly lenient: boolean;
}

const UNITS = [
  "a.service",
  "web@1.service",
  "web@.service",
  "a@\\x25H.service",
  "a@\\xzz.socket",
  "system-a.slice",
  "",
  "a",
] as const;

/** What matters to the parsers; single bytes come besides. */
const TOKENS = [
  ...[
    "[X-Fleet]\n",
    "[Service]\n",
    "[",
    "]",
    "=",
    "!=",
    "\\\n",
    "\\",
    "\n",
    "\r",
    "#",
    ";",
    '"',
    " ",
  ],
  ...[
    "%H",
    "%m",
    "%%",
    "%i",
    "%I",
    "%",
    "in (",
    "not in (",
    ")",
    ",",
    "*",
    "\ufeff",
    "\0",
    "\ud83d\ude00",
  ],
  ...[
    "MachineID=",
    "MachineOf=",
    "MachineMetadata=",
    "PreferMachineMetadata=",
    "Conflicts=",
    "Replaces=",
  ],
  ...[
    "NotMachineID=",
    "SpreadBy=",
    "MaxPerMachine=",
    "Weight=",
    "Global=",
    "Fencing=strict\n",
    "OnFailure=move\n",
  ],
  ...[
    "MemoryMax=",
    "CPUQuota=",
    "TasksMax=",
    "50%",
    "1.5G",
    "99999999999999999999",
    "0x",
    "a=b",
    "b.service",
  ],
];

const NOTHING = Buffer.alloc(0);

/** Real text with mistakes in it reaches further than noise. */
export function makeInput(corpus: readonly Uint8Array[], random: Random): FuzzInput {
  const below = (count: number) => Math.floor(random.fraction() * count);
  const pick = <T>(list: readonly T[], otherwise: T) => list[below(list.length)] ?? otherwise;
  const mutated = () => {
    let bytes = Buffer.from(pick(corpus, NOTHING));
    for (let left = 1 + below(8); left > 0; left -= 1) {
      const at = below(bytes.length + 1);
      const to = Math.min(bytes.length, at + below(40));
      const other = pick(corpus, NOTHING);
      const start = below(other.length);
      const inserted = [
        Buffer.from(pick(TOKENS, "")),
        Buffer.from(pick(TOKENS, "").repeat(1 + below(30))),
        Buffer.from([below(256)]),
        other.subarray(start, start + below(200)),
        bytes.subarray(at, to),
      ][below(5)];
      const isKept = random.fraction() < 0.7;
      bytes = Buffer.concat([
        bytes.subarray(0, at),
        inserted ?? NOTHING,
        bytes.subarray(isKept ? at : to),
      ]);
    }
    return bytes;
  };
  return {
    unit: pick(UNITS, ""),
    files: Array.from({ length: 1 + below(3) }, mutated),
    lenient: random.fraction() < 0.3,
  };
}

/** Throws at the first thing that must not be: another exception than UnitFileError, or bytes that got lost. */
export function checkInput({ unit, files, lenient }: FuzzInput): void {
  const texts: string[] = [];
  for (const bytes of files) {
    const text = orRefused(() => decodeUnitText(bytes, unit));
    if (text === undefined) continue;
    const { unitFile, problems } = scanUnitFile(text, unit);
    assert(Buffer.from(printUnitFile(unitFile)).equals(bytes), "bytes got lost");
    const lineCount = text.split(/\r\n|\n\r|\n|\r/).length;
    for (const { line } of problems) assert(line !== undefined && line >= 1 && line <= lineCount);
    unitHash(unitFile);
    contentFromOptions(fleetOptions(unitFile));
    texts.push(text);
  }
  const [content = "", ...dropIns] = texts;
  const manifest: Manifest = {
    content,
    dropIns: dropIns.map((text, index) => ({ name: `${index}.conf`, content: text })),
    lenient,
  };
  manifestHash(manifest);
  effectiveHash(manifest);
  hasInstallSection(manifest);
  const { errors, requirements } = validateManifest(unit, manifest);
  const read = orRefused(() => readRequirements(unit, manifest));
  if (errors.length === 0) assert.deepEqual(read, requirements, "read otherwise when placed");
  for (const pattern of [...requirements.conflicts, ...requirements.replaces]) {
    const machine = { machineId: "0123456789abcdef0123456789abcdef", hostname: "m-1" };
    parseGlob(expandMachineSpecifiers(pattern, machine))?.matches("web@1.service");
  }
  if (!lenient && errors.length === 0) {
    const again = validateManifest(unit, { ...manifest, lenient: true });
    assert.deepEqual(again.requirements, requirements, "lenient reading differs");
  }
}

function orRefused<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof UnitFileError) return undefined;
    throw error;
  }
}

export function inputText({ unit, files, lenient }: FuzzInput): string {
  const texts = files.map((bytes) => Buffer.from(bytes).toString("latin1"));
  return JSON.stringify({ unit, lenient, latin1: texts });
}
