import assert from "node:assert/strict";
import { it } from "node:test";
import { run } from "../support/run.ts";

// As root, with the packages nftables and conntrack. The namespace ends with its last process and takes all tables along.
it("the data plane in the kernel keeps the contract", async () => {
  const inside = `${import.meta.dirname}/nft-proxy.inside.ts`;
  const script = `ip link set lo up && exec "$0" --test --test-timeout=60000 "$1"`;
  const ended = await run([
    "env",
    "-u",
    "NODE_TEST_CONTEXT",
    "unshare",
    "--net",
    "--mount",
    "sh",
    "-ec",
    script,
    process.execPath,
    inside,
  ]);
  assert.equal(ended.code, 0, ended.stdout + ended.stderr);
  assert.match(ended.stdout, /^ℹ pass [1-9]\d*$/m);
});
