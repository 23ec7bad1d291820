import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

export interface RealUnitFile {
  readonly path: string;
  readonly name: string;
  readonly bytes: Buffer;
}

/** Where systemd looks for what packages bring. */
const MACHINE_FOLDERS = ["/usr/lib/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/user"];

/** Unit files and drop-ins that the packages of this machine bring. */
export function machineUnitFiles(): readonly RealUnitFile[] {
  return unitFilesBelow(MACHINE_FOLDERS);
}

/** Those of Debian packages that lab/debian-units.sh can fetch, or has fetched before; `remarks` say what it could not do. */
export function debianUnitFiles(): {
  readonly files: readonly RealUnitFile[];
  readonly remarks: string;
} {
  const script = join(import.meta.dirname, "../../lab/debian-units.sh");
  const { stdout, stderr, status } = spawnSync(script, { encoding: "utf8", timeout: 90_000 });
  if (status !== 0) throw new Error(`${script} failed: ${stderr}`);
  return { files: unitFilesBelow([stdout.trim()]), remarks: stderr.trim() };
}

const UNIT_FILE = /\.(service|socket|timer|path|mount|automount|target|slice|swap|device|scope)$/;

/** Plain files only: links are aliases, enabled units and masks. Each path once where a folder is a link to another. */
function unitFilesBelow(folders: readonly string[]): readonly RealUnitFile[] {
  const files = new Map<string, RealUnitFile>();
  for (const folder of folders) {
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      const isDropIn = entry.parentPath.endsWith(".d") && entry.name.endsWith(".conf");
      if (!entry.isFile() || !(UNIT_FILE.test(entry.name) || isDropIn)) continue;
      files.set(path.replace(/^\/usr\/lib\//, "/lib/"), {
        path,
        name: basename(path),
        bytes: readFileSync(path),
      });
    }
  }
  return [...files.values()];
}
