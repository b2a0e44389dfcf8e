import type { EdgePower } from './pair.ts'

/** What takes joules of the edge device, beside the time for which it is on. */
export interface EnergyUse {
  /** Seconds for which the edge computes. */
  readonly edgeSeconds: number
  readonly upBytes: number
  readonly downBytes: number
  /** Messages in both directions. */
  readonly messages: number
}

/** The use of a device that only idles. */
export const NO_USE: EnergyUse = { edgeSeconds: 0, upBytes: 0, downBytes: 0, messages: 0 }

/** Edge joules by cause. */
export interface JouleParts {
  readonly idleJoules: number
  /** Busy over idle. */
  readonly computeJoules: number
  readonly radioUpJoules: number
  readonly radioDownJoules: number
  /** Radio tails, per message. */
  readonly messageJoules: number
}

/**
 * Edge joules of a use, and of `idleSeconds` of idle power. 0 idle seconds: what a request adds to a device that is on
 * anyway (docs/model.md (22)). The request's own duration: what it takes alone on the device (24). The length of a
 * run: what the device took in it (23). The cloud's energy is counted nowhere.
 */
export function edgeJoules(power: EdgePower, use: EnergyUse, idleSeconds: number): number {
  return (
    computeWatts(power) * use.edgeSeconds +
    power.idleWatts * idleSeconds +
    power.radioJoulesPerByte * (use.upBytes + use.downBytes) +
    power.radioJoulesPerMessage * use.messages
  )
}

/** The joules of edgeJoules, each with its cause. */
export function joulesByCause(power: EdgePower, use: EnergyUse, idleSeconds: number): JouleParts {
  return {
    idleJoules: power.idleWatts * idleSeconds,
    computeJoules: computeWatts(power) * use.edgeSeconds,
    radioUpJoules: power.radioJoulesPerByte * use.upBytes,
    radioDownJoules: power.radioJoulesPerByte * use.downBytes,
    messageJoules: power.radioJoulesPerMessage * use.messages,
  }
}

/** Watts that computing adds to the idle power. Negative where a profile says that busy takes less than idle. */
function computeWatts({ busyWatts, idleWatts }: EdgePower): number {
  return busyWatts - idleWatts
}

/** What each cause of edgeJoules costs at `perJoule`: for searches that minimise a sum of such coefficients. */
interface EnergyPrices {
  readonly idleSecond: number
  readonly computeSecond: number
  readonly byte: number
  readonly message: number
}

/** The edge's power as prices: cost a second (idle, computing), a byte and a message, at `perJoule` of cost a joule. */
export function energyPrices(power: EdgePower, perJoule: number): EnergyPrices {
  return {
    idleSecond: perJoule * power.idleWatts,
    computeSecond: perJoule * computeWatts(power),
    byte: perJoule * power.radioJoulesPerByte,
    message: perJoule * power.radioJoulesPerMessage,
  }
}
