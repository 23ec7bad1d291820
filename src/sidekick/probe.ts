import { spawn } from "node:child_process";
import { get } from "node:http";
import { connect } from "node:net";
import type { Clock } from "../runtime/clock.ts";
import { withDeadline } from "../runtime/deadline.ts";
import { errorMessage, FleetError, isFleetError } from "../runtime/errors.ts";
import { hostPort } from "../services/endpoint.ts";
import type { CheckResult } from "./health.ts";

export type Check =
  | { readonly type: "tcp" }
  /** Any answer below 400. */
  | { readonly type: "http"; readonly path: string }
  /** By the shell; exit status 0. FLEET_HOST and FLEET_PORT say where. */
  | { readonly type: "exec"; readonly command: string }
  /** systemd says that it is active, or reloading. */
  | { readonly type: "unit"; readonly unit: string };

export interface ProbeOptions {
  readonly check: Check;
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** One check. Rejects only when `signal` aborts. */
export async function probe(options: ProbeOptions): Promise<CheckResult> {
  const { clock, timeoutMs, signal } = options;
  const onDeadline = () => new FleetError("timed-out", `no answer within ${timeoutMs} ms`);
  try {
    return await withDeadline(clock, { deadlineMs: timeoutMs, signal, onDeadline }, (ends) =>
      run(options, ends),
    );
  } catch (error) {
    signal.throwIfAborted();
    if (isFleetError(error) || isSystemError(error)) return { ok: false, why: errorMessage(error) };
    throw error;
  }
}

function run(options: ProbeOptions, signal: AbortSignal): Promise<CheckResult> {
  switch (options.check.type) {
    case "tcp":
      return probeTcp(options, signal);
    case "http":
      return probeHttp(options, options.check.path, signal);
    case "exec": {
      const env = { FLEET_HOST: options.host, FLEET_PORT: String(options.port) };
      return probeProgram(["/bin/sh", "-c", options.check.command], { signal, env });
    }
    case "unit":
      return probeUnit(options.check.unit, signal);
  }
}

async function probeTcp({ host, port }: ProbeOptions, signal: AbortSignal): Promise<CheckResult> {
  const socket = connect({ host, port });
  signal.addEventListener("abort", () => socket.destroy(), { once: true });
  try {
    return await new Promise((resolve) => {
      socket.once("connect", () => resolve({ ok: true }));
      socket.on("error", (error) => resolve({ ok: false, why: errorMessage(error) }));
      socket.once("close", () => resolve({ ok: false, why: "closed" }));
    });
  } finally {
    // With a reset: no port of ours is to wait in TIME_WAIT for every check.
    socket.resetAndDestroy();
  }
}

function probeHttp(
  { host, port }: ProbeOptions,
  path: string,
  signal: AbortSignal,
): Promise<CheckResult> {
  return new Promise((resolve) => {
    const request = get({ host, port, path, signal, agent: false }, (response) => {
      const status = response.statusCode ?? 0;
      response.destroy();
      const why = `HTTP ${status} from http://${hostPort({ host, port })}${path}`;
      resolve(status < 400 ? { ok: true } : { ok: false, why });
    });
    request.on("error", (error) => resolve({ ok: false, why: errorMessage(error) }));
  });
}

async function probeUnit(unit: string, signal: AbortSignal): Promise<CheckResult> {
  let output = "";
  const words = ["systemctl", "show", "--property=ActiveState", "--value", "--", unit];
  const result = await probeProgram(words, { signal, onOutput: (text) => (output += text) });
  const state = output.trim();
  if (state === "active" || state === "reloading") return { ok: true };
  return result.ok ? { ok: false, why: `${unit} is ${state}` } : result;
}

/** Runs a program; all that it has started ends with it. */
function probeProgram(
  [program = "", ...args]: readonly string[],
  options: {
    readonly signal: AbortSignal;
    readonly env?: Readonly<Record<string, string>>;
    readonly onOutput?: (text: string) => void;
  },
): Promise<CheckResult> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      detached: true,
      stdio: ["ignore", options.onOutput === undefined ? "ignore" : "pipe", "ignore"],
      env: { ...process.env, ...options.env },
    });
    const kill = () => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended by itself.
      }
    };
    options.signal.addEventListener("abort", kill, { once: true });
    child.stdout?.setEncoding("utf8").on("data", options.onOutput ?? (() => undefined));
    child.on("error", (error) => resolve({ ok: false, why: errorMessage(error) }));
    child.on("close", (code, killed) => {
      options.signal.removeEventListener("abort", kill);
      const why = `${program} ended with ${killed ?? `status ${code}`}`;
      resolve(code === 0 ? { ok: true } : { ok: false, why });
    });
  });
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && "code" in error;
}
