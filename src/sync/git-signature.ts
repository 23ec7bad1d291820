import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import type { GitCall, GitProgram } from "./git-program.ts";

/** Whose signatures count. */
export type SignatureRule =
  /** File of git's `gpg.ssh.allowedSignersFile` (ssh-keygen(1), ALLOWED SIGNERS). */
  | { readonly type: "ssh"; readonly allowedSigners: string }
  /** File of public keys, as `gpg --export` writes it. */
  | { readonly type: "gpg"; readonly keyring: string };

/** By the file's name, as git names such files: anything that does not end in `allowed_signers` is a key ring. */
export function signatureRuleOf(file: string): SignatureRule {
  return file.endsWith("allowed_signers")
    ? { type: "ssh", allowedSigners: file }
    : { type: "gpg", keyring: file };
}

const IMPORT_MS = 10_000;

/** Undefined when a known key has signed the commit. Throws `tree-untrusted` when the keys cannot be read. */
export async function whyUntrusted(
  git: GitProgram,
  options: { readonly commit: string; readonly signatures: SignatureRule; readonly call: GitCall },
): Promise<string | undefined> {
  const { commit, signatures, call } = options;
  if (signatures.type === "ssh") {
    const settings = [`gpg.ssh.allowedSignersFile=${signatures.allowedSigners}`];
    return await check(git, commit, { ...call, settings });
  }
  // A home of its own: whatever keys the user trusts for mail do not count here.
  const home = await mkdtemp(join(tmpdir(), "fleet-ts-keys-"));
  try {
    const environment = { GNUPGHOME: home };
    await importKeys(signatures.keyring, { ...process.env, ...environment });
    return await check(git, commit, { ...call, environment });
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function importKeys(keyring: string, env: NodeJS.ProcessEnv): Promise<void> {
  try {
    const args = ["--batch", "--quiet", "--no-autostart", "--import", keyring];
    await promisify(execFile)("gpg", args, { env, timeout: IMPORT_MS });
  } catch (error) {
    const why = errorMessage(error).split("\n").slice(0, 2).join(": ");
    throw new FleetError("tree-untrusted", `cannot read the keys in ${keyring}: ${why}`);
  }
}

async function check(git: GitProgram, commit: string, call: GitCall): Promise<string | undefined> {
  const { code, words } = await git.run(["verify-commit", "--raw", commit], call);
  // GOODSIG: by a key that is known, not expired and not revoked. An SSH signature by an unknown key has a status other than 0.
  if (code === 0) return undefined;
  return /NO_PUBKEY|No principal matched|ERRSIG|git said nothing/i.test(words)
    ? "no known key has signed it"
    : words;
}
