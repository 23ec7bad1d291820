import { readFile, rename, writeFile } from "node:fs/promises";
import { errorMessage, FleetError } from "../runtime/errors.ts";

/** Atomically: a reader sees the old text or the new one. Nothing is done where the text is there already. */
export async function writeText(path: string, text: string): Promise<void> {
  const temporary = `${path}.new-${process.pid}`;
  try {
    if ((await readText(path)) === text) return;
    await writeFile(temporary, text, { mode: 0o644 });
    await rename(temporary, path);
  } catch (error) {
    throw new FleetError("host-io", `cannot write ${path}: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

/** Undefined where there is no such file. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new FleetError("host-io", `cannot read ${path}: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}
