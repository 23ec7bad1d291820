import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { build } from "esbuild";

const PROJECT = join(import.meta.dirname, "..");
const ENTRY = join(PROJECT, "src/cli/library-main.ts");

/** What package.json exports: the client as one module that needs nothing else, and its types. */
export async function buildLibrary(directory: string): Promise<void> {
  await build({
    entryPoints: [ENTRY],
    outfile: join(directory, "fleet-ts.mjs"),
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    legalComments: "none",
    logLevel: "warning",
  });
  const types = ["--noEmit", "false", "--declaration", "--emitDeclarationOnly"];
  const places = ["--outDir", join(directory, "types"), "--rootDir", join(PROJECT, "src")];
  const settings = ["--project", join(PROJECT, "tsconfig.library.json")];
  execFileSync(join(PROJECT, "node_modules/.bin/tsc"), [...settings, ...types, ...places], {
    stdio: "inherit",
  });
}
