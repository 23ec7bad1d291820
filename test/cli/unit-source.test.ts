import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { readSources } from "../../src/cli/unit-source.ts";

async function directoryWith(
  context: TestContext,
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "fleet-unit-source-"));
  context.after(() => rm(directory, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), content);
  }
  return directory;
}

test("a file is read byte for byte, with the drop-ins beside it in order of name", async (context) => {
  const directory = await directoryWith(context, {
    "a.service": "\ufeff# comment\r\n[Service]\n",
    "a.service.d/20.conf": "two",
    "a.service.d/10.conf": "one",
    "a.service.d/readme.txt": "no drop-in",
  });
  const [source] = await readSources([join(directory, "a")]);
  assert.deepEqual(source, {
    name: "a.service",
    path: join(directory, "a.service"),
    own: {
      content: "\ufeff# comment\r\n[Service]\n",
      dropIns: [
        { name: "10.conf", content: "one" },
        { name: "20.conf", content: "two" },
      ],
    },
    template: undefined,
  });
});

test("an instance without a file has its template's, and drop-ins of both", async (context) => {
  const directory = await directoryWith(context, {
    "a@.service": "template",
    "a@.service.d/10.conf": "of all",
    "a@.service.d/20.conf": "of all",
    "a@1.service.d/20.conf": "of this one",
  });
  const [source] = await readSources([join(directory, "a@1")]);
  assert.equal(source?.own, undefined);
  assert.deepEqual(source?.template, {
    name: "a@.service",
    path: join(directory, "a@.service"),
    shared: {
      content: "template",
      dropIns: [
        { name: "10.conf", content: "of all" },
        { name: "20.conf", content: "of all" },
      ],
    },
    manifest: {
      content: "template",
      dropIns: [
        { name: "10.conf", content: "of all" },
        { name: "20.conf", content: "of this one" },
      ],
    },
  });
});

test("the instance's own file comes before its template", async (context) => {
  const directory = await directoryWith(context, { "a@.service": "t", "a@1.service": "own" });
  const [source] = await readSources([join(directory, "a@1.service")]);
  assert.deepEqual([source?.own?.content, source?.template], ["own", undefined]);
});

test("a name without a file has none, and a unit named twice counts once", async (context) => {
  const directory = await directoryWith(context, {});
  const sources = await readSources([join(directory, "a"), join(directory, "a.service")]);
  assert.deepEqual(
    sources.map(({ name, own }) => [name, own]),
    [["a.service", undefined]],
  );
});

test("what is there but cannot be read is an error, not an absent file", async (context) => {
  const directory = await directoryWith(context, {
    "latin.service": Uint8Array.of(0x23, 0xe4, 0x0a),
    "folder.service/x": "",
  });
  await assert.rejects(readSources([join(directory, "latin")]), /cannot read .*latin\.service/);
  await assert.rejects(readSources([join(directory, "folder")]), /cannot read .*folder\.service/);
});

test("an instance with a file of its own has the template's drop-ins too, as systemd gives it", async (context) => {
  const directory = await directoryWith(context, {
    "a@1.service": "own",
    "a@.service.d/10.conf": "of all",
    "a@.service.d/20.conf": "of all",
    "a@1.service.d/20.conf": "of this one",
  });
  const [source] = await readSources([join(directory, "a@1")], { lenient: true });
  assert.deepEqual(source?.own, {
    content: "own",
    dropIns: [
      { name: "10.conf", content: "of all" },
      { name: "20.conf", content: "of this one" },
    ],
    lenient: true,
  });
});
