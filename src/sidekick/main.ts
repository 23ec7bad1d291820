#!/usr/bin/env node
import { ownUnit } from "../runtime/own-unit.ts";
import { openLogger } from "../runtime/pino-logger.ts";
import { runProgram } from "../runtime/program.ts";
import { ServiceNotifier } from "../runtime/service-notifier.ts";
import { systemClock } from "../runtime/system-clock.ts";
import { systemRandom } from "../runtime/system-random.ts";
import { parseSidekick, SIDEKICK_USAGE } from "./arguments.ts";
import { Sidekick } from "./sidekick.ts";

void runProgram({
  name: "fleet-sidekick",
  usage: SIDEKICK_USAGE,
  parse: parseSidekick,
  run: async (spec, { signal, fail }) => {
    const sidekick = new Sidekick({
      ...spec,
      clock: systemClock,
      random: systemRandom,
      logger: openLogger({
        debug: false,
        prefixLevel: process.env["JOURNAL_STREAM"] !== undefined,
      }),
      notifier: new ServiceNotifier(process.env),
      ownUnit: ownUnit(),
    });
    const end = await sidekick.run(signal);
    return end.type === "refused" ? fail(`fleetd-ts refuses ${end.why}`) : 0;
  },
});
