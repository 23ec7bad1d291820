/** Random port: the only source of chance. `system-random.ts` is the real one, `seeded-random.ts` repeats itself. */
export interface Random {
  /** 32 lower-case hexadecimal digits. */
  id(): string;
  /** At least 0, below 1. */
  fraction(): number;
}
