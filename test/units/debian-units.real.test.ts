import assert from "node:assert/strict";
import { test } from "node:test";
import { debianUnitFiles } from "../support/unit-files.ts";
import { assertReadWell } from "./real-unit-checks.ts";

test("unit files of Debian packages are read without problems and come back byte for byte", (context) => {
  const { files, remarks } = debianUnitFiles();
  for (const file of files) assertReadWell(file);
  context.diagnostic(`${files.length} files of Debian packages. ${remarks}`);
  // Where there is no network, what the machine has itself is covered by systemd-agreement.test.ts.
  if (remarks === "") assert(files.length >= 200, `only ${files.length} files`);
});
