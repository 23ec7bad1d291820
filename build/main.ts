// npm run build: each program as one JavaScript file, dist/<program>.cjs, and the client as a library, dist/fleet-ts.mjs. npm run dist: besides as an executable, dist/<program>, that needs no Node.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildLibrary } from "./library.ts";
import { bundle, makeExecutable, PROGRAMS } from "./programs.ts";

const DIST = join(import.meta.dirname, "../dist");

rmSync(DIST, { recursive: true, force: true });
mkdirSync(DIST);
for (const program of PROGRAMS) {
  const file = await bundle(program, DIST);
  if (process.argv.includes("--executables")) makeExecutable(program, file);
}
await buildLibrary(DIST);
