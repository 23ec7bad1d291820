import type { SimDaemon } from "./sim-daemon.ts";
import { SimMachine } from "./sim-machine.ts";

/** A machine and the daemon that runs on it, if one does. */
export class StaffedMachine extends SimMachine {
  daemon: SimDaemon | undefined;
}
