import { mkdirSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import type { RecordFolder } from "./host.ts";
import { assertRecordFolder, assertRecordName } from "./record-name.ts";

const TEMPORARY = ".new-";

/** Makes the directory and takes away what writes that never ended have left. `durable`: a write that resolved survives power loss. */
export async function openFolder(
  directory: string,
  options: { readonly durable: boolean },
): Promise<RecordFolder> {
  return await onDisk(`open ${directory}`, async () => {
    await mkdir(directory, { recursive: true, mode: 0o755 });
    if (options.durable) await syncDirectory(dirname(directory));
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.name.startsWith(TEMPORARY)) await unlink(path);
      else if (entry.isDirectory()) await removeTemporaries(path);
    }
    return new LinuxFolder(directory, options.durable);
  });
}

class LinuxFolder implements RecordFolder {
  readonly #directory: string;
  readonly #durable: boolean;
  #writes = 0;

  constructor(directory: string, durable: boolean) {
    this.#directory = directory;
    this.#durable = durable;
  }

  async read(name: string): Promise<string | undefined> {
    assertRecordName(name);
    return await onDisk(`read ${this.#path(name)}`, () =>
      orMissing(() => readFile(this.#path(name), "utf8")),
    );
  }

  async write(name: string, text: string): Promise<void> {
    assertRecordName(name);
    const path = this.#path(name);
    // A record's name may be as long as a file's: the temporary one does not repeat it.
    this.#writes += 1;
    const temporary = join(dirname(path), `${TEMPORARY}${process.pid}-${this.#writes}`);
    await onDisk(`write ${path}`, () =>
      this.#durable ? writeDurably(path, temporary, text) : writeInMemory(path, temporary, text),
    );
  }

  async remove(name: string): Promise<void> {
    assertRecordName(name);
    const path = this.#path(name);
    await onDisk(`remove ${path}`, async () => {
      await orMissing(async () => {
        if (!this.#durable) return unlinkSync(path);
        await unlink(path);
        await syncDirectory(dirname(path));
      });
    });
  }

  async list(folder: string): Promise<readonly string[]> {
    assertRecordFolder(folder);
    const path = this.#path(folder);
    const names = await onDisk(`list ${path}`, () => orMissing(() => readdir(path)));
    return (names ?? []).filter((name) => !name.startsWith(".")).sort();
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

async function writeDurably(path: string, temporary: string, text: string): Promise<void> {
  const parent = dirname(path);
  const made = await mkdir(parent, { recursive: true, mode: 0o755 });
  if (made !== undefined) await syncDirectory(dirname(parent));
  try {
    const file = await open(temporary, "w", 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await orMissing(() => unlink(temporary));
    throw error;
  }
  await syncDirectory(parent);
}

/** Synchronous: in memory (/run) a call costs a few microseconds, and the detour over the thread pool ten times that. */
async function writeInMemory(path: string, temporary: string, text: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  try {
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    await orMissing(async () => unlinkSync(temporary));
    throw error;
  }
}

async function removeTemporaries(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name.startsWith(TEMPORARY)) await unlink(join(directory, name));
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function orMissing<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

async function onDisk<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new FleetError("host-io", `cannot ${what}: ${errorMessage(error)}`, {
      retriable: true,
      cause: error,
    });
  }
}
