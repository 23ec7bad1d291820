import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** An authority and a certificate of it for 127.0.0.1 and node-1.example, made by openssl(1): as text, and the directory that has them as files. */
export function makeCertificates(t: TestContext): {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly directory: string;
} {
  const directory = mkdtempSync(join(tmpdir(), "fleet-tls-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const openssl = (...args: readonly string[]) =>
    execFileSync("openssl", args, { cwd: directory, stdio: "pipe" });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    "ca.key",
    "-out",
    "ca.crt",
    "-subj",
    "/CN=ca",
    "-days",
    "2",
  );
  openssl("req", ...newKey, "-keyout", "m.key", "-out", "m.csr", "-subj", "/CN=machine");
  writeFileSync(join(directory, "san"), "subjectAltName=IP:127.0.0.1,DNS:node-1.example");
  const sign = [
    "-CA",
    "ca.crt",
    "-CAkey",
    "ca.key",
    "-CAcreateserial",
    "-days",
    "2",
    "-extfile",
    "san",
  ];
  openssl("x509", "-req", "-in", "m.csr", ...sign, "-out", "m.crt");
  const read = (name: string) => readFileSync(join(directory, name), "utf8");
  return { ca: read("ca.crt"), cert: read("m.crt"), key: read("m.key"), directory };
}
