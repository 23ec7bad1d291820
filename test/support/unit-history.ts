import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SeededRandom } from "../../src/runtime/seeded-random.ts";
import type { GitWorkTree } from "./git-work-tree.ts";
import { debianUnitFiles } from "./unit-files.ts";

export interface HistoryUnit {
  readonly name: string;
  readonly content: string;
}

const EXAMPLES = join(import.meta.dirname, "../../examples/units");
/** What real units say that is harmless anywhere, whatever else of them is on the machine. */
const KEPT =
  /^(Description|Documentation|After|Before|WantedBy|Nice|KillMode|KillSignal|Timeout(Start|Stop)?Sec|LimitNOFILE|LimitNPROC|TasksMax|OOMScoreAdjust|IOSchedulingClass|RestartSec|OnCalendar|OnBootSec|AccuracySec|Persistent|RandomizedDelaySec)=/;
/** One in so many is started, another is loaded; the others are only in the registry. */
const LAUNCHED_EVERY = 10;
const LOADED_EVERY = 6;

/** Debian's own services and timers, and the examples, made harmless and under names that no machine has. */
export function harmlessUnits(): readonly HistoryUnit[] {
  const real = debianUnitFiles().files.map(({ name, bytes }) => ({
    name,
    text: bytes.toString("utf8"),
  }));
  const examples = readdirSync(EXAMPLES, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name, parentPath }) => ({ name, text: readFileSync(join(parentPath, name), "utf8") }));
  const units = new Map<string, HistoryUnit>();
  for (const { name, text } of [...real, ...examples]) {
    if (!/^[A-Za-z0-9_.-]+@?\.(service|timer)$/.test(name)) continue;
    const own = `deb-${name}`;
    units.set(own, { name: own, content: harmless(name, text, units.size) });
  }
  return [...units.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function harmless(name: string, text: string, index: number): string {
  const isTimer = name.endsWith(".timer");
  const lines: string[] = [];
  let section = "";
  for (const line of text.replace(/\\\n/g, " ").split("\n")) {
    const header = /^\[(Unit|Service|Timer|Install)\]/.exec(line);
    if (header !== null) section = header[1] ?? "";
    if (header !== null) lines.push(`[${section}]`);
    else if (line.startsWith("[")) section = "";
    else if (section !== "" && KEPT.test(line)) lines.push(line);
  }
  if (!isTimer) lines.push("[Service]", "ExecStart=/bin/sleep infinity");
  const isPlain = !isTimer && !name.includes("@");
  const state =
    isPlain && index % LAUNCHED_EVERY === 0
      ? "launched"
      : isPlain && index % LOADED_EVERY === 0
        ? "loaded"
        : "inactive";
  lines.push("[X-Fleet]", `State=${state}`, "");
  return lines.join("\n");
}

export type HistoryKind =
  | "add"
  | "edit"
  | "rename"
  | "move"
  | "remove"
  | "broken"
  | "mend"
  | "merge"
  | "force-push"
  | "revert";

/** Commits in a work tree as people make them; the same seed makes the same ones. */
export class UnitHistory {
  readonly #tree: GitWorkTree;
  readonly #random: SeededRandom;
  readonly #spare: HistoryUnit[];
  #edits = 0;

  /** `first` of the units are there from the beginning, the others are added later. */
  constructor(options: {
    readonly tree: GitWorkTree;
    readonly units: readonly HistoryUnit[];
    readonly first: number;
    readonly seed: number;
  }) {
    const { tree, units, first, seed } = options;
    this.#tree = tree;
    this.#random = new SeededRandom(seed);
    for (const { name, content } of units.slice(0, first)) {
      tree.write(`${folderOf(name)}/${name}`, content);
    }
    this.#spare = units.slice(first);
    tree.commit("Everything");
  }

  /** 50 kinds in a seeded order, with one of each rare kind in the middle; a broken commit is mended by the next. */
  kinds(): readonly HistoryKind[] {
    const usual: HistoryKind[] = [];
    const counts = { add: 12, edit: 19, rename: 4, move: 3, remove: 7 } as const;
    for (const [kind, count] of Object.entries(counts)) {
      usual.push(...Array.from({ length: count }, () => kind as HistoryKind));
    }
    const shuffled = usual
      .map((kind) => ({ kind, at: this.#random.fraction() }))
      .sort((a, b) => a.at - b.at)
      .map(({ kind }) => kind);
    const rare: HistoryKind[] = ["broken", "mend", "merge", "force-push", "revert"];
    const at = shuffled.length / 2;
    return [...shuffled.slice(0, at), ...rare, ...shuffled.slice(at)];
  }

  /** Makes one commit (a merge: two and itself) and gives its id. */
  commit(kind: HistoryKind): string {
    const tree = this.#tree;
    switch (kind) {
      case "add": {
        const unit = this.#spare.shift();
        if (unit !== undefined) tree.write(`${folderOf(unit.name)}/${unit.name}`, unit.content);
        else this.#edit(this.#pick());
        break;
      }
      case "edit":
        this.#edit(this.#pick());
        break;
      case "rename": {
        const path = this.#pick();
        tree.git("mv", path, path.replace(/([^/@]+)(@?\.\w+)$/, "$1-new$2"));
        break;
      }
      case "move": {
        const path = this.#pick();
        const folder = `moved-${this.#edits}`;
        tree.write(`${folder}/README`, "Moved here.\n");
        tree.git("mv", path, `${folder}/${path.split("/").at(-1)}`);
        break;
      }
      case "remove":
        tree.remove(this.#pick());
        break;
      case "broken":
        this.#edit(this.#pick());
        tree.write("broken.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nReplicas=many\n");
        break;
      case "mend":
        tree.remove("broken.service");
        break;
      case "merge":
        tree.git("checkout", "--quiet", "-b", "side");
        this.#edit(this.#paths()[0] ?? "");
        tree.commit("On the side");
        tree.git("checkout", "--quiet", "main");
        this.#edit(this.#paths().at(-1) ?? "");
        tree.commit("Meanwhile");
        tree.git("merge", "--quiet", "--no-ff", "-m", "Merge the side", "side");
        return tree.git("rev-parse", "HEAD");
      case "force-push":
        tree.git("reset", "--quiet", "--hard", "HEAD~2");
        this.#edit(this.#pick());
        break;
      case "revert":
        tree.git("revert", "--no-edit", "HEAD");
        return tree.git("rev-parse", "HEAD");
    }
    return tree.commit(kind);
  }

  #edit(path: string): void {
    this.#edits += 1;
    const old = readFileSync(join(this.#tree.directory, path), "utf8");
    const text = old.replace(/^# Edit .*\n/, "").replace(/^Environment=EDIT=.*\n/m, "");
    const environment = `Environment=EDIT=${this.#edits}\n`;
    this.#tree.write(
      path,
      path.endsWith(".service")
        ? text.replace("ExecStart=", `${environment}ExecStart=`)
        : `# Edit ${this.#edits}\n${text}`,
    );
  }

  #pick(): string {
    const paths = this.#paths();
    return paths[Math.floor(this.#random.fraction() * paths.length)] ?? "";
  }

  #paths(): readonly string[] {
    return this.#tree
      .git("ls-files")
      .split("\n")
      .filter((path) => /\.(service|timer)$/.test(path));
  }
}

function folderOf(name: string): string {
  return name.replace(/^deb-/, "").slice(0, 1).toLowerCase();
}
