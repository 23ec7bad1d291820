import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { hasInstallSection, validateManifest } from "../../src/units/manifest.ts";
import { NO_REQUIREMENTS } from "../../src/units/requirements.ts";
import { decodeUnitText, optionValues, parseUnitFile } from "../../src/units/unit-file.ts";
import { assertReadWell } from "./real-unit-checks.ts";

/** Written by `podman generate systemd` (podman 4.3.1 of Debian 12, unpacked below /tmp/podman), with --new, --template, --env. */
const FOLDER = join(import.meta.dirname, "podman");

const EXEC_START: Readonly<Record<string, RegExp>> = {
  "container-web.service":
    /^\/\S+\/podman run --cidfile=%t\/%n\.ctr-id .* --name web --network host /,
  "container-web-env.service":
    /^\/\S+\/podman run --cidfile=%t\/%n\.ctr-id .* --memory 64m localhost/,
  "container-web-running.service": /^\/\S+\/podman start web$/,
  "container-web@.service": /^\/\S+\/podman run --cidfile=%t\/%n\.ctr-id .* --name web-%i /,
};

test("every unit file of podman is in the table of this test", () => {
  assert.deepEqual(readdirSync(FOLDER).sort(), Object.keys(EXEC_START).sort());
});

for (const [name, execStart] of Object.entries(EXEC_START)) {
  test(`${name} of podman is read as systemd reads it`, () => {
    const path = join(FOLDER, name);
    const bytes = readFileSync(path);
    assertReadWell({ path, name, bytes });
    const content = decodeUnitText(bytes, name);
    const manifest = { content, dropIns: [] };
    const { errors, requirements } = validateManifest(name, manifest);
    assert.deepEqual(errors, []);
    // The container's own --memory is podman's business, not a limit of the unit.
    assert.deepEqual(requirements, NO_REQUIREMENTS);
    assert(hasInstallSection(manifest));
    const { options } = parseUnitFile(content, name);
    const [command = "", ...others] = optionValues(options, {
      section: "Service",
      name: "ExecStart",
    });
    assert.deepEqual(others, []);
    assert.match(command.replaceAll(/\s+/g, " "), execStart);
    if (command.includes("GREETING")) {
      assert(command.endsWith('-c "echo \\"$$GREETING 100%%\\" \\\\ ; sleep infinity"'), command);
    }
  });
}
