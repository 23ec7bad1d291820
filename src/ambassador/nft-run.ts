import { spawn } from "node:child_process";
import { FleetError } from "../runtime/errors.ts";

/** Gives what the program said; `proxy-failed` says what it complained about. */
export function runProgram(program: string, args: readonly string[], input = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "pipe" });
    let output = "";
    let complaint = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (complaint += chunk));
    child.stdin.on("error", () => {}); // it may end without having read everything
    child.stdin.end(input);
    const fail = (why: string, cause?: unknown) =>
      reject(
        new FleetError("proxy-failed", `${program} ${args.join(" ")} failed: ${why}`, { cause }),
      );
    child.once("error", (error) =>
      fail(`${error.message} (install the package that has ${program})`, error),
    );
    child.once("close", (code) =>
      code === 0 ? resolve(output) : fail(complaint.trim().slice(0, 500)),
    );
  });
}
