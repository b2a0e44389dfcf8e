/** Inputs of one critic's advantages; [T, N] arrays are indexed t * N + n. */
export interface GaeInput {
  readonly steps: number
  readonly envs: number
  /** [T, N]: rewards of this critic. */
  readonly rewards: Float64Array
  /**
   * [T + 1, N]: values of the observations on which actions were chosen; the last row is for the observations after the
   * rollout.
   */
  readonly values: Float64Array
  /** [T, N]: value of the final observation where an episode was truncated; ignored elsewhere. */
  readonly finalValues: Float64Array
  /** [T, N]: duration of each step, seconds. */
  readonly tauSeconds: Float64Array
  /** [T, N]: 1 where the step terminated an episode. */
  readonly terminated: Uint8Array
  readonly truncated: Uint8Array
  /** Discount rate beta per second: a reward tau seconds later counts e^(-beta tau). */
  readonly discountRate: number
  readonly lambda: number
}

/**
 * Generalised advantage estimation (Schulman et al. 2016, equation 16) for a semi-Markov process: a step's discount is
 * e^(-beta tau). After termination the remaining value is 0, after truncation it is the value of the final observation;
 * advantages flow back across neither. Writes [T, N].
 */
export function generalisedAdvantages(input: GaeInput, advantagesOut: Float64Array): void {
  const { steps, envs, rewards, values, finalValues, tauSeconds, terminated, truncated } = input
  for (let n = 0; n < envs; n++) {
    let advantage = 0
    for (let t = steps - 1; t >= 0; t--) {
      const i = t * envs + n
      const discount = Math.exp(-input.discountRate * tauSeconds[i])
      const ended = terminated[i] === 1 || truncated[i] === 1
      const next = terminated[i] === 1 ? 0 : ended ? finalValues[i] : values[i + envs]
      const delta = rewards[i] + discount * next - values[i]
      advantage = delta + (ended ? 0 : discount * input.lambda * advantage)
      advantagesOut[i] = advantage
    }
  }
}

/** Shifts and scales in place to mean 0 and standard deviation 1 (population). */
export function standardise(values: Float64Array): void {
  let sum = 0
  for (const value of values) sum += value
  const mean = sum / values.length
  let squares = 0
  for (const value of values) squares += (value - mean) ** 2
  const scale = 1 / (Math.sqrt(squares / values.length) + 1e-8)
  for (let i = 0; i < values.length; i++) values[i] = (values[i] - mean) * scale
}
