import type { CancelTimer, Clock } from "../runtime/clock.ts";
import { type Manifest, manifestHash } from "../units/manifest.ts";
import { type Behaviour, readBehaviour } from "./memory-unit-text.ts";
import type { UnitStatus } from "./systemd.ts";

/** One run of a unit: from its start to the end of ExecStopPost. */
export interface Run {
  readonly unit: string;
  readonly manifest: Manifest;
  /** 0 for a unit without processes. */
  readonly pid: number;
  readonly startMs: number;
  /** Undefined while it runs. */
  readonly endMs: number | undefined;
  readonly endedBy: "stop" | "exit" | "power" | undefined;
}

export interface MemoryJob {
  readonly type: "start" | "stop";
  readonly done: Promise<string>;
  readonly end: (result: string) => void;
}

export interface MemoryUnitOptions {
  readonly unit: string;
  readonly manifest: Manifest;
  /** Empty for a unit without a file. */
  readonly path: string;
  readonly clock: Clock;
  /** Runs before it was last loaded. */
  readonly runs: number;
  readonly nextPid: () => number;
  readonly begin: (run: Run) => (endedBy: "stop" | "exit" | "power") => void;
  readonly onChange: () => void;
  /** False: it is fenced, and outside the fence. */
  readonly mayStart: () => boolean;
}

/** States of systemd.unit(5) and systemd.service(5) in one step each: a model, exact in what comes after what and in what a job's end means. */
export class MemoryUnit {
  readonly unit: string;
  readonly path: string;
  manifest: Manifest;
  readonly #options: MemoryUnitOptions;
  #behaviour: Behaviour;
  #active = "inactive";
  #sub = "dead";
  #result = "success";
  #pid = 0;
  #sinceMs = 0;
  #job: MemoryJob | undefined;
  #runs: number;
  #startsMs: number[] = [];
  #endRun: ((endedBy: "stop" | "exit" | "power") => void) | undefined;
  /** Timers of what goes on now: start-up, run, stop or the wait before a restart. */
  #timers: CancelTimer[] = [];

  constructor(options: MemoryUnitOptions) {
    this.unit = options.unit;
    this.path = options.path;
    this.manifest = options.manifest;
    this.#runs = options.runs;
    this.#options = options;
    this.#behaviour = readBehaviour(options.unit, options.manifest);
  }

  get isIdle(): boolean {
    return (this.#active === "inactive" || this.#active === "failed") && this.#job === undefined;
  }

  get isForgettable(): boolean {
    return this.isIdle && this.#active !== "failed";
  }

  get hash(): string {
    return manifestHash(this.manifest);
  }

  /** daemon-reload: what runs goes on, what comes next is of the new file. */
  reread(manifest: Manifest): void {
    this.manifest = manifest;
    this.#behaviour = readBehaviour(this.unit, manifest);
  }

  status(): UnitStatus {
    const hasResult = this.#behaviour.type !== "target" && this.#behaviour.type !== "slice";
    return {
      unit: this.unit,
      load: this.#behaviour.load,
      active: this.#active,
      sub: this.#sub,
      result: hasResult ? this.#result : "",
      mainPid: this.#pid,
      sinceMs: this.#sinceMs,
      hasJob: this.#job !== undefined,
    };
  }

  /** Undefined: systemd refuses. */
  start(): MemoryJob | undefined {
    if (this.#behaviour.load !== "loaded") return undefined;
    if (this.#job?.type === "start") return this.#job;
    const job = this.#newJob("start");
    const { outcome, jobTimeoutMs } = this.#behaviour;
    if (this.#active === "active") job.end("done");
    else if (outcome !== "") job.end(outcome);
    else {
      if (Number.isFinite(jobTimeoutMs))
        this.#later(jobTimeoutMs, () => job.end("timeout"), job.done);
      // While it stops, systemd waits, then it starts; what is starting already ends this job too.
      const under = this.#active === "deactivating" || this.#sub === "start";
      if (!under) this.#start();
    }
    return job;
  }

  stop(): MemoryJob {
    if (this.#job?.type === "stop") return this.#job;
    const job = this.#newJob("stop");
    if (this.#active === "inactive" || this.#active === "failed") job.end("done");
    else if (this.#active !== "deactivating") this.#stop();
    return job;
  }

  resetFailed(): void {
    this.#startsMs = [];
    if (this.#active === "failed") this.#become("inactive", "dead", "success");
  }

  get isReloadable(): boolean {
    return this.#active === "active" && this.#behaviour.reloads;
  }

  get hasProcesses(): boolean {
    return this.#pid !== 0;
  }

  /** The main process ends, by a signal or by itself. */
  exit(code: number): void {
    if (this.#pid === 0 || this.#active === "deactivating") return;
    if (this.#active === "activating") this.#startFailed("exit-code");
    else this.#exited(code);
  }

  /** What is stopping is ended at once. */
  kill(): void {
    if (this.#active === "deactivating") this.#ended("signal", "stop");
  }

  /** The machine is gone, and all that ran with it. */
  cutPower(): void {
    this.#cancelTimers();
    this.#endRun?.("power");
    this.#endRun = undefined;
    this.#job?.end("canceled");
  }

  #newJob(type: "start" | "stop"): MemoryJob {
    // Mode `replace`.
    this.#job?.end("canceled");
    let resolve: (result: string) => void = () => {};
    const done = new Promise<string>((settle) => {
      resolve = settle;
    });
    const job: MemoryJob = {
      type,
      done,
      end: (result) => {
        if (this.#job === job) this.#job = undefined;
        resolve(result);
        this.#options.onChange();
      },
    };
    this.#job = job;
    this.#options.onChange();
    return job;
  }

  #start(): void {
    this.#cancelTimers();
    const { clock, nextPid, begin, unit, mayStart } = this.#options;
    if (!mayStart()) {
      this.#become("inactive", "dead", "exec-condition");
      this.#endJob("start", "canceled");
      return;
    }
    const { type, startLimitBurst, startLimitMs } = this.#behaviour;
    const nowMs = clock.monotonicMs();
    this.#startsMs = this.#startsMs.filter((startMs) => nowMs - startMs < startLimitMs);
    if (this.#startsMs.length >= startLimitBurst && startLimitMs > 0) {
      this.#become(
        "failed",
        "failed",
        this.#result === "success" ? "start-limit-hit" : this.#result,
      );
      this.#endJob("start", "failed");
      return;
    }
    this.#startsMs.push(nowMs);
    this.#runs += 1;
    this.#pid = type === "service" ? nextPid() : 0;
    const run = { unit, manifest: this.manifest, pid: this.#pid, startMs: nowMs };
    this.#endRun = begin({ ...run, endMs: undefined, endedBy: undefined });
    if (type === "service") this.#startService();
    else {
      this.#become("active", SUB_STATES[type] ?? "active", "success");
      this.#endJob("start", "done");
    }
  }

  #startService(): void {
    const { serviceType, startMs, startTimeoutMs, exitAfterMs } = this.#behaviour;
    if (serviceType === "simple" || serviceType === "exec") {
      this.#running();
      return;
    }
    this.#become("activating", "start", "success");
    const takesMs = serviceType === "oneshot" ? startMs : Math.min(startMs, exitAfterMs);
    if (startTimeoutMs < takesMs) this.#later(startTimeoutMs, () => this.#startFailed("timeout"));
    else if (takesMs < startMs) this.#later(takesMs, () => this.#startFailed("exit-code"));
    else if (Number.isFinite(startMs)) this.#later(startMs, () => this.#started());
  }

  #started(): void {
    if (this.#behaviour.serviceType !== "oneshot") {
      this.#running();
      return;
    }
    const code = this.#exitCode();
    if (code !== 0) {
      this.#startFailed("exit-code");
      return;
    }
    this.#pid = 0;
    if (this.#behaviour.remainAfterExit) {
      this.#become("active", "exited", "success");
      this.#endJob("start", "done");
    } else {
      this.#endJob("start", "done");
      this.#wrapUp({ result: "success", endedBy: "exit" });
    }
  }

  #running(): void {
    this.#become("active", "running", "success");
    this.#endJob("start", "done");
    const { exitAfterMs } = this.#behaviour;
    if (Number.isFinite(exitAfterMs))
      this.#later(exitAfterMs, () => this.#exited(this.#exitCode()));
  }

  #startFailed(result: string): void {
    this.#endJob("start", "failed");
    this.#wrapUp({ result, endedBy: "exit" });
  }

  #exited(code: number): void {
    this.#pid = 0;
    if (code === 0 && this.#behaviour.remainAfterExit) this.#become("active", "exited", "success");
    else this.#wrapUp({ result: code === 0 ? "success" : "exit-code", endedBy: "exit" });
  }

  #stop(): void {
    if (this.#active === "activating" && this.#sub === "auto-restart") {
      this.#ended("success", "stop");
      return;
    }
    const { stopMs, stopTimeoutMs } = this.#behaviour;
    const late = stopMs > stopTimeoutMs;
    this.#cancelTimers();
    this.#become("deactivating", "stop", this.#result);
    this.#later(Math.min(stopMs, stopTimeoutMs), () =>
      this.#wrapUp({ result: late ? "timeout" : "success", endedBy: "stop" }),
    );
  }

  /** ExecStopPost, and what comes of the end. */
  #wrapUp(how: { readonly result: string; readonly endedBy: "stop" | "exit" }): void {
    const { postMs } = this.#behaviour;
    this.#cancelTimers();
    if (postMs === 0) this.#ended(how.result, how.endedBy);
    else {
      this.#become("deactivating", "stop-post", how.result);
      this.#later(postMs, () => this.#ended(how.result, how.endedBy));
    }
  }

  #ended(result: string, endedBy: "stop" | "exit"): void {
    this.#cancelTimers();
    this.#pid = 0;
    this.#endRun?.(endedBy);
    this.#endRun = undefined;
    const { restart, restartMs, type } = this.#behaviour;
    const again =
      restart === "always" || restart === (result === "success" ? "on-success" : "on-failure");
    this.#become(
      result === "success" ? "inactive" : "failed",
      result === "success" ? "dead" : "failed",
      result,
    );
    if (this.#job?.type === "start") this.#start();
    else if (this.#job !== undefined) this.#job.end("done");
    else if (type === "service" && endedBy === "exit" && again) {
      this.#become("activating", "auto-restart", result);
      this.#later(restartMs, () => this.#start());
    }
  }

  #exitCode(): number {
    const { exitCodes } = this.#behaviour;
    return exitCodes[Math.min(this.#runs, exitCodes.length) - 1] ?? 0;
  }

  #become(active: string, sub: string, result: string): void {
    if (this.#active !== active) this.#sinceMs = this.#options.clock.wallMs();
    this.#active = active;
    this.#sub = sub;
    this.#result = result;
    this.#options.onChange();
  }

  #endJob(type: "start" | "stop", result: string): void {
    if (this.#job?.type === type) this.#job.end(result);
  }

  /** With `until`, the timer is not one of the unit's state but ends with that promise. */
  #later(delayMs: number, work: () => void, until?: Promise<unknown>): void {
    const cancel = this.#options.clock.setTimer(delayMs, work);
    if (until === undefined) this.#timers.push(cancel);
    else void until.then(cancel);
  }

  #cancelTimers(): void {
    for (const cancel of this.#timers) cancel();
    this.#timers = [];
  }
}

const SUB_STATES: Readonly<Record<string, string>> = {
  socket: "listening",
  timer: "waiting",
  path: "waiting",
  mount: "mounted",
  automount: "waiting",
  swap: "active",
  slice: "active",
  target: "active",
};
