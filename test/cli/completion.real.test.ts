import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { COMPLETION_SCRIPTS } from "../../src/cli/completion.ts";
import { run } from "../support/run.ts";
import { PlayedCluster } from "./played-cluster.ts";
import { M1 } from "./views.ts";

let cluster: PlayedCluster;
let bin: string;

before(async () => {
  cluster = await PlayedCluster.open();
  await cluster.lead();
  await cluster.addMachine(M1);
  bin = join(cluster.directory, "bin");
  await mkdir(bin);
  const main = join(import.meta.dirname, "../../src/cli/main.ts");
  await writeFile(join(bin, "fleetctl-ts"), `#!/bin/sh\nexec ${process.execPath} ${main} "$@"\n`);
  await chmod(join(bin, "fleetctl-ts"), 0o755);
  for (const name of ["web@1.service", "web@2.service", "db.service"]) {
    const path = join(cluster.directory, name);
    await writeFile(path, "[Service]\nExecStart=/bin/sleep 1\n");
    assert.equal((await cluster.run("submit", path)).exit, 0);
  }
});
after(() => cluster.close());

/** What the shell offers for a line that ends where the cursor is, one candidate each. */
type Offer = (shell: { readonly script: string; readonly line: string }) => readonly string[];

const SHELLS: Readonly<Record<"bash" | "zsh" | "fish", Offer>> = {
  bash: ({ script, line }) => [
    ...["/bin/bash", "--norc", "-c"],
    `source ${script}; COMP_LINE=$1 COMP_POINT=\${#1}; _fleetctl_ts; printf '%s\\n' "\${COMPREPLY[@]}"`,
    ...["bash", line],
  ],
  // compadd itself works in the line editor only.
  zsh: ({ script, line }) => [
    ...["/usr/bin/zsh", "-f", "-c"],
    `compdef() { :; }; compadd() { shift; for one; do [[ $one == \${words[CURRENT]}* ]] && print -r -- $one; done; }; source ${script}; ` +
      `words=("\${(@s: :)1}"); CURRENT=\${#words}; _fleetctl_ts`,
    ...["zsh", line],
  ],
  fish: ({ script, line }) => [
    ...["/usr/bin/fish", "--no-config", "-c"],
    `source ${script}; complete -C "$argv[1]"`,
    line,
  ],
};

for (const shell of ["bash", "zsh", "fish"] as const) {
  const [program = ""] = SHELLS[shell]({ script: "", line: "" });
  if (!existsSync(program)) {
    console.log(`left out: completion in ${shell}, because it is not installed`);
    continue;
  }

  test(`${shell} completes commands, options, units and machines`, async () => {
    const script = join(cluster.directory, `completion.${shell}`);
    await writeFile(script, COMPLETION_SCRIPTS[shell]);
    const offered = async (line: string) => {
      const env = {
        PATH: `${bin}:${process.env["PATH"]}`,
        HOME: cluster.directory,
        FLEETCTL_ENDPOINT: `unix://${join(cluster.directory, "fleet.sock")}`,
      };
      const { stdout, stderr } = await run(SHELLS[shell]({ script, line }), { env });
      assert.equal(stderr, "");
      return stdout
        .split("\n")
        .filter((one) => one !== "")
        .map((one) => one.split("\t")[0])
        .sort();
    };
    assert.deepEqual(await offered("fleetctl-ts sta"), ["start", "status"]);
    assert.deepEqual(await offered("fleetctl-ts list-units --no-l"), ["--no-legend"]);
    // bash takes words apart at @, so it offers what comes after it.
    const units =
      shell === "bash" ? ["1.service", "2.service"] : ["web@1.service", "web@2.service"];
    assert.deepEqual(await offered("fleetctl-ts stop web@"), units);
    assert.deepEqual(await offered("fleetctl-ts stop db.service d"), ["db.service"]);
    assert.deepEqual(await offered(`fleetctl-ts status --machine ${M1.slice(0, 3)}`), [M1]);
  });
}
