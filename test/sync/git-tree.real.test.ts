import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  globSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { systemClock } from "../../src/runtime/system-clock.ts";
import type { SignatureRule } from "../../src/sync/git-signature.ts";
import { openTree } from "../../src/sync/open-tree.ts";
import { GitWorkTree } from "../support/git-work-tree.ts";

/** Git itself, on repositories of the tests' own. */
interface Sandbox {
  readonly directory: string;
  readonly work: string;
  git(...args: readonly string[]): string;
  write(path: string, content: string): void;
  commit(message: string): string;
  open(
    location?: string,
    options?: { dirty?: boolean; signatures?: SignatureRule },
  ): ReturnType<typeof openTree>;
}

function sandbox(t: TestContext): Sandbox {
  const directory = mkdtempSync(join(tmpdir(), "fleet-ts-git-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const work = join(directory, "units");
  const tree = new GitWorkTree(work);
  return {
    directory,
    work,
    git: (...args) => tree.git(...args),
    write: (path, content) => tree.write(path, content),
    commit: (message) => tree.commit(message),
    open: (location = work, { dirty = false, signatures } = {}) =>
      openTree({
        clock: systemClock,
        location,
        dirty,
        signatures,
        cacheDirectory: join(directory, "cache"),
        pollMs: 60_000,
      }),
  };
}

const UNIT = "[Service]\nExecStart=/bin/true\n";

test("the copy of a repository stays small, and keeps versions that no branch has any more", async (t) => {
  const box = sandbox(t);
  const tree = await box.open();
  box.write("a.service", UNIT);
  const first = box.commit("First");
  await tree.newest({});
  for (let round = 0; round < 25; round += 1) {
    box.write("a.service", `${UNIT}# ${round}\n`);
    box.git("commit", "--quiet", "--all", "--amend", "-m", `Amended ${round}`);
    await tree.newest({});
  }
  const packs = globSync(join(box.directory, "cache/*/repository/objects/pack/*.pack"));
  assert.ok(packs.length <= 20, `${packs.length} packs`);
  const version = await tree.find(first, {});
  assert.equal(version?.id, first);
});

test("a git tree is the newest commit of its branch, byte for byte", async (t) => {
  const box = sandbox(t);
  box.write("web/a.service", `${UNIT}# ü\r\n`);
  box.write("README.md", "nothing for us");
  const first = box.commit("First: with a colon");
  const tree = await box.open();
  const version = await tree.newest({});
  assert.deepEqual(
    { ...version, committedMs: 0 },
    {
      id: first,
      author: "Ada <ada@example.com>",
      subject: "First: with a colon",
      committedMs: 0,
    },
  );
  box.write("uncommitted.service", UNIT);
  assert.deepEqual(await tree.read(version, {}), {
    files: [{ path: "web/a.service", content: `${UNIT}# ü\r\n` }],
    problems: [],
  });
  box.git("checkout", "--quiet", "-b", "other");
  const second = box.commit("Second");
  assert.equal((await tree.newest({})).id, second, "HEAD moved to another branch");
  const main = await box.open(`${box.work}#main`);
  assert.equal((await main.newest({})).id, first);
  const below = await box.open(`${box.work}#main:web`);
  await below.newest({});
  assert.deepEqual(
    (await below.read(version, {})).files.map(({ path }) => path),
    ["a.service"],
  );
  assert.equal((await tree.find(first.slice(0, 10), {}))?.id, first);
  assert.equal(await tree.find("0123456789", {}), undefined);
});

test("a folder of a work tree is that folder of its commits; with dirty, what lies in it", async (t) => {
  const box = sandbox(t);
  box.write("prod/a.service", UNIT);
  box.commit("One");
  box.write("prod/b.service", UNIT);
  const committed = await box.open(join(box.work, "prod"));
  const paths = async (tree: typeof committed) =>
    (await tree.read(await tree.newest({}), {})).files.map(({ path }) => path);
  assert.deepEqual(await paths(committed), ["a.service"]);
  assert.deepEqual(await paths(await box.open(join(box.work, "prod"), { dirty: true })), [
    "a.service",
    "b.service",
  ]);
});

test("links, and bytes that are no text, are refused by name and never followed", async (t) => {
  const box = sandbox(t);
  symlinkSync("/etc/shadow", join(box.work, "a.service"));
  writeFileSync(join(box.work, "b.service"), Buffer.from([0x5b, 0xff, 0xfe]));
  box.commit("One");
  for (const dirty of [false, true]) {
    const tree = await box.open(box.work, { dirty });
    const { files, problems } = await tree.read(await tree.newest({}), {});
    assert.deepEqual(files, []);
    assert.deepEqual(problems.map(({ path, message }) => `${path} ${message}`).sort(), [
      "a.service is a symbolic link: put the file itself there",
      "b.service is not UTF-8",
    ]);
  }
});

test("nothing of a repository runs: hooks, filters, fsmonitor, upload-pack hooks, attributes", async (t) => {
  const box = sandbox(t);
  const marker = join(box.directory, "it-ran");
  const script = join(box.directory, "evil.sh");
  writeFileSync(script, `#!/bin/sh\ntouch ${marker}\ncat\n`);
  chmodSync(script, 0o755);
  box.write("a.service", UNIT);
  box.write(".gitattributes", "*.service filter=evil diff=evil merge=evil\n");
  box.commit("One");
  for (const setting of [
    "filter.evil.smudge",
    "filter.evil.clean",
    "filter.evil.process",
    "core.fsmonitor",
    "core.sshCommand",
    "core.pager",
    "core.editor",
    "uploadpack.packObjectsHook",
    "diff.external",
    "gpg.program",
    "credential.helper",
    "core.gitProxy",
  ]) {
    box.git("config", setting, script);
  }
  for (const hook of [
    "post-checkout",
    "post-merge",
    "reference-transaction",
    "pre-receive",
    "post-index-change",
  ]) {
    writeFileSync(join(box.work, ".git/hooks", hook), `#!/bin/sh\ntouch ${marker}\n`, {
      mode: 0o755,
    });
  }
  rmSync(marker, { force: true });
  const tree = await box.open();
  const { files } = await tree.read(await tree.newest({}), {});
  assert.deepEqual(files, [{ path: "a.service", content: UNIT }]);
  assert.equal(existsSync(marker), false, "a program of the repository ran");
});

test("a commit wakes whoever waits, and a plain directory does when a file is dropped in", async (t) => {
  const box = sandbox(t);
  box.write("a.service", UNIT);
  box.commit("One");
  for (const [tree, stir] of [
    [await box.open(), () => box.commit("Two")],
    [await box.open(box.work, { dirty: true }), () => box.write("new/b.service", UNIT)],
  ] as const) {
    const before = await tree.newest({});
    const stirred = tree.stirred({});
    stir();
    await stirred;
    assert.notEqual((await tree.newest({})).id, before.id);
  }
});

test("what cannot be reached says so and can be tried again", async (t) => {
  const box = sandbox(t);
  const tree = await box.open(`file://${box.directory}/nowhere.git#main`);
  await assert.rejects(tree.newest({}), { code: "tree-unavailable", retriable: true });
  await assert.rejects(box.open(join(box.directory, "nowhere")), /is not a directory/);
  await assert.rejects(box.open(`${box.work}#--upload-pack=x`), /is no name of a branch/);
  await assert.rejects(box.open(`${box.work}#main:../up`), /has to stay inside/);
  const empty = await box.open(`${box.work}#main`);
  await assert.rejects(empty.newest({}), { code: "tree-unavailable" });
});

test("only commits signed by a known key are versions (ssh)", async (t) => {
  const box = sandbox(t);
  const key = (name: string) => {
    const path = join(box.directory, name);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path]);
    return path;
  };
  const [known, unknown] = [key("known"), key("unknown")];
  const signers = join(box.directory, "allowed_signers");
  const publicKey = execFileSync("cat", [`${known}.pub`], { encoding: "utf8" });
  writeFileSync(signers, `ada@example.com ${publicKey}`);
  const signed = (path: string) => {
    box.git(
      "-c",
      "gpg.format=ssh",
      "-c",
      `user.signingKey=${path}`,
      "commit",
      "--quiet",
      "--allow-empty",
      "-S",
      "-m",
      "Signed",
    );
    return box.git("rev-parse", "HEAD");
  };
  const signatures = { type: "ssh", allowedSigners: signers } as const;
  const good = signed(known);
  const tree = await box.open(box.work, { signatures });
  const distrust = async () => await tree.distrust(await tree.newest({}), {});
  assert.equal((await tree.newest({})).id, good);
  assert.equal(await distrust(), undefined);
  signed(unknown);
  assert.equal(await distrust(), "no known key has signed it");
  box.commit("Not signed at all");
  assert.equal(await distrust(), "no known key has signed it");
});
