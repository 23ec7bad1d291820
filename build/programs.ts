import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import { thinCodeCache } from "./code-cache.ts";
import { embedEtcdProtocol } from "./etcd-protocol.ts";

const PROJECT = join(import.meta.dirname, "..");

export interface Program {
  readonly name: string;
  readonly entry: string;
  /** Of V8. The daemon's are those of its unit. */
  readonly nodeFlags: readonly string[];
  /** Its modules run when it is built, and a start loads the memory they left: for what people wait for. */
  readonly snapshot?: boolean;
}

const SMALL_HEAP = ["--max-semi-space-size=1", "--optimize-for-size", "--v8-pool-size=1"];

export const PROGRAMS: readonly Program[] = [
  {
    name: "fleetctl-ts",
    entry: "src/cli/main.ts",
    nodeFlags: [
      // Mostly it ends before there is anything worth collecting.
      "--min-semi-space-size=16",
      "--max-semi-space-size=16",
      // New secrets for its hash tables at each start take a tenth of the start. They guard against strangers who choose what is hashed; here operators do.
      "--no-rehash-snapshot",
    ],
    snapshot: true,
  },
  {
    name: "fleetd-ts",
    entry: "src/daemon/main.ts",
    nodeFlags: SMALL_HEAP,
  },
  { name: "fleet-sidekick", entry: "src/sidekick/main.ts", nodeFlags: SMALL_HEAP },
  { name: "fleet-ambassador", entry: "src/ambassador/main.ts", nodeFlags: [] },
];

/** Node's modules are loaded when something of theirs is first used. TLS takes as long as a whole start does, and not all of them can be in a snapshot. */
const LAZY_REQUIRE = `var require = (id) => {
  if (!id.startsWith("node:")) return process.getBuiltinModule(id);
  const load = () => process.getBuiltinModule(id);
  const lazy = new Proxy(() => {}, {
    get: (_, name) => load()[name],
    apply: (_, self, values) => Reflect.apply(load(), self, values),
    getPrototypeOf: () => lazy,
  });
  return lazy;
};`;

/** Everything a program may need is in its file, read and compiled when it is first used. */
export async function bundle(
  { name, entry, snapshot }: Program,
  directory: string,
): Promise<string> {
  const outfile = join(directory, `${name}.cjs`);
  await build({
    entryPoints: [join(PROJECT, entry)],
    outfile,
    bundle: true,
    platform: "node",
    target: "node24",
    // What --build-sea takes with a code cache. Dynamic imports stay lazy.
    format: "cjs",
    minify: true,
    legalComments: "none",
    // Native parts that ssh2 does without where they are not there.
    loader: { ".node": "empty" },
    logLevel: "warning",
    plugins: [embedEtcdProtocol],
    ...(snapshot === true ? { banner: { js: LAZY_REQUIRE } } : {}),
  });
  escapeLetters(outfile);
  return outfile;
}

/** For one letter that is not in Latin-1, V8 keeps a whole file in two bytes per letter. esbuild leaves those in regular expressions. */
function escapeLetters(file: string): void {
  const escaped = (letter: string) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  writeFileSync(file, readFileSync(file, "utf8").replace(/[^\0-\x7f]/g, escaped));
}

/** Beside its bundle. */
export function makeExecutable(
  { name, nodeFlags, snapshot = false }: Program,
  main: string,
): string {
  const config = `${main}.sea.json`;
  const output = join(dirname(main), name);
  const settings = {
    main,
    output,
    disableExperimentalSEAWarning: true,
    ...(snapshot ? { useSnapshot: true } : { useCodeCache: true }),
    // What a thread of its own runs: fleet-ambassador has some.
    assets: { main },
    execArgv: nodeFlags,
    execArgvExtension: "none",
  };
  writeFileSync(config, JSON.stringify(settings));
  // The same flags as at run time: V8 refuses a code cache that was made under others.
  execFileSync(process.execPath, [...nodeFlags, `--build-sea=${config}`], { stdio: "inherit" });
  rmSync(config);
  if (snapshot) thinCodeCache(output);
  return output;
}
