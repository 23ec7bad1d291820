import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeCertificates } from "../support/certificates.ts";
import { runCli } from "./run-cli.ts";

async function listen(t: TestContext, server: Server): Promise<number> {
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return address.port;
}

test("whoever is not let in by TLS, or lets nobody in, hears what to change", async (t) => {
  const [cluster, stranger] = [makeCertificates(t), makeCertificates(t)];
  const answer = '{"machines":[],"notices":[]}';
  const secure = createSecureServer(
    { ...cluster, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.2" },
    (_, response) => response.end(answer),
  );
  const securePort = await listen(t, secure);
  const plainPort = await listen(
    t,
    createServer((_, response) => response.end(answer)),
  );
  const flags = (
    files: { readonly directory: string },
    ca: string,
    cert: string,
    key: string,
  ): readonly string[] => {
    const path = (name: string) => join(files.directory, name);
    const pairs = [
      ["--ca-file", ca],
      ["--cert-file", cert],
      ["--key-file", key],
    ] as const;
    return pairs.flatMap(([flag, name]) => (name === "" ? [] : [flag, path(name)]));
  };
  const run = (endpoint: string, ...words: readonly string[]) =>
    runCli(["--endpoint", endpoint, ...words, "list-machines", "--no-legend"]);
  const https = `https://127.0.0.1:${securePort}`;

  const good = flags(cluster, "ca.crt", "m.crt", "m.key");
  assert.deepEqual(await run(https, ...good), { exit: 0, out: "", err: "" });
  for (const [endpoint, words, exit, expected] of [
    [https, [], 1, /certificate is not accepted: .*: --ca-file names who has signed it$/],
    [https, flags(stranger, "ca.crt", "m.crt", "m.key"), 1, /--ca-file names who has signed it$/],
    [https, flags(cluster, "ca.crt", "", ""), 1, /wants a certificate: --cert-file and --key-file/],
    [`http://127.0.0.1:${securePort}`, good, 1, /does it want https:\/\/\?$/],
    [`https://127.0.0.1:${plainPort}`, good, 1, /no TLS is spoken there: http:\/\/\?$/],
    [
      https,
      flags(cluster, "ca.crt", "m.crt", "ca.key"),
      2,
      /^the TLS files cannot be used: .*mism/,
    ],
    [https, flags(cluster, "ca.crt", "m.crt", "san"), 2, /^the TLS files cannot be used: /],
    [https, flags(cluster, "ca.crt", "m.crt", ""), 2, /--cert-file and --key-file .* together/],
  ] as const) {
    const result = await run(endpoint, ...words);
    const what = `${endpoint} ${words.join(" ")}: ${result.err}`;
    assert.equal(result.exit, exit, what);
    assert.match(result.err, /^[^\n]*\n$/, what);
    assert.match(result.err.trimEnd(), expected, what);
  }
});
