import assert from "node:assert/strict";
import { test } from "node:test";
import { optionValues, scanUnitFile, type UnitOption } from "../../src/units/unit-file.ts";
import { debianUnitFiles, machineUnitFiles, type RealUnitFile } from "../support/unit-files.ts";
import { useLab } from "../support/use-lab.ts";

const fixture = useLab({ machines: 1, daemons: false, registry: "embedded" });

/** Directives that systemd shows as they are written. Lists: words of all lines, in any order, as systemd adds its own. */
const DIRECTIVES: readonly Directive[] = [
  { section: "Unit", name: "Description" },
  { section: "Unit", name: "Documentation", list: "words" },
  { section: "Unit", name: "After", list: "units" },
  { section: "Unit", name: "Before", list: "units" },
  { section: "Unit", name: "Wants", list: "units" },
  { section: "Unit", name: "Requires", list: "units" },
  { section: "Unit", name: "Conflicts", list: "units" },
  { section: "Service", name: "Type" },
  { section: "Service", name: "Restart" },
  { section: "Service", name: "User" },
  { section: "Service", name: "KillMode" },
  { section: "Service", name: "BusName" },
  { section: "Service", name: "RuntimeDirectory", list: "words" },
  { section: "Service", name: "StateDirectory", list: "words" },
  { section: "Service", name: "SystemCallArchitectures" },
  { section: "Service", name: "TasksMax" },
];

interface Directive {
  readonly section: string;
  readonly name: string;
  /** `units`: those that are files of their own, as systemd shows others under the name they are an alias of. */
  readonly list?: "words" | "units";
}

test("the options of Debian's units are those that a real systemd shows", async (context) => {
  const { lab } = fixture;
  const own = new Map(installable(machineUnitFiles()));
  const more = installable(debianUnitFiles().files).filter(([name]) => !own.has(name));
  for (const [name, { bytes }] of more) {
    await lab.writeFile(1, `/etc/systemd/system/${name}`, bytes.toString("utf8"));
  }
  assert.equal((await lab.exec(1, "systemctl", "daemon-reload")).code, 0);
  const files = new Map([...own, ...more]);
  const shown = await show([...files.keys()]);
  let compared = 0;
  for (const properties of shown) {
    const name = properties.get("Id") ?? "";
    const file = files.get(name);
    // Masked, hidden by a file in /etc or changed by a drop-in of the machine's own.
    if (file === undefined || properties.get("LoadState") !== "loaded") continue;
    if (!properties.get("FragmentPath")?.endsWith(`/system/${name}`)) continue;
    if (properties.get("DropInPaths") !== "") continue;
    const { options } = scanUnitFile(file.bytes.toString("utf8"), name).unitFile;
    for (const directive of DIRECTIVES)
      compared += compare({ name, options, properties, files }, directive);
  }
  context.diagnostic(`${compared} values of ${shown.length} units compared`);
  assert(compared >= 500, `only ${compared} values compared`);

  async function show(names: readonly string[]): Promise<readonly ReadonlyMap<string, string>[]> {
    const wanted = [
      "Id",
      "LoadState",
      "FragmentPath",
      "DropInPaths",
      ...DIRECTIVES.map((d) => d.name),
    ];
    const { stdout } = await lab.exec(1, "systemctl", "show", "-p", wanted.join(), "--", ...names);
    return stdout.split("\n\n").map((block) => {
      const lines = block.split("\n").map((line) => [line, line.indexOf("=")] as const);
      return new Map(lines.map(([line, at]) => [line.slice(0, at), line.slice(at + 1)]));
    });
  }
});

/** By name. Templates cannot be shown; aliases would be shown under another name. */
function installable(files: readonly RealUnitFile[]): readonly (readonly [string, RealUnitFile])[] {
  return files
    .filter(({ path, name }) => path.endsWith(`/systemd/system/${name}`) && !name.includes("@"))
    .map((file) => [file.name, file] as const);
}

/** How many values were compared. */
function compare(
  unit: {
    readonly name: string;
    readonly options: readonly UnitOption[];
    readonly properties: ReadonlyMap<string, string>;
    readonly files: ReadonlyMap<string, unknown>;
  },
  { section, name, list }: Directive,
): number {
  const values = optionValues(unit.options, { section, name });
  const shown = unit.properties.get(name);
  // Not said; or systemd puts something in for a specifier or takes quotes and escapes away.
  if (values.length === 0 || values.some((value) => /[%"'\\]/.test(value))) return 0;
  const message = `${name} of ${unit.name}`;
  if (list === undefined) {
    assert.equal(shown, values.at(-1), message);
    return 1;
  }
  const all = values.flatMap((value) => value.split(/\s+/));
  const words = list === "units" ? all.filter((word) => unit.files.has(word)) : all;
  // systemctl quotes what a shell would not take as it is.
  const there = shown?.replaceAll('"', "").split(" ");
  const missing = words.filter((word) => !there?.includes(word));
  assert.deepEqual(missing, [], `${message}: ${shown}`);
  return words.length;
}
