import { InputError } from '../core/errors.ts'
import type { RandomStream } from '../core/random.ts'
import { drawLengths, moments } from './lengths.ts'
import type { LengthSource, RecordedRequests } from './lengths.ts'
import { fork } from './markov.ts'
import type { RequestArrival } from './types.ts'

/** Arrival process; each is scaled to the mean rate that is asked for. */
export type ArrivalProcess =
  | { readonly kind: 'poisson' }
  /** Two states with exponential sojourns; in bursts requests come `burstRatio` times as often as in calm. */
  | {
      readonly kind: 'mmpp'
      readonly burstRatio: number
      readonly meanCalmSeconds: number
      readonly meanBurstSeconds: number
    }
  /** The gaps of a recording from a random position on, stretched to the mean rate. */
  | { readonly kind: 'recorded'; readonly requests: RecordedRequests }

/** Arrivals, lengths and their predictions. */
export interface Workload {
  readonly arrivals: ArrivalProcess
  readonly lengths: LengthSource
  /**
   * Error of the length predictor: it observes the true length times a log-normal error with this log-sd, and returns
   * the posterior mean and sd given the distribution of lengths (Bayes). 0: exact predictions.
   */
  readonly predictorLogSd: number
}

/** Stop after `count` requests or at `seconds`; if both are given, whichever comes first. */
export interface ArrivalLimits {
  readonly count?: number
  readonly seconds?: number
  readonly meanRatePerSecond: number
  /** Largest sum of prompt and longest answer. */
  readonly contextTokens: number
  /** Longer answers are cut here. */
  readonly maxNewTokens: number
}

/**
 * Draws requests in order of arrival, from 0 s. An output is cut at maxNewTokens; a prompt keeps its last contextTokens
 * - maxNewTokens tokens, because K/V cache is reserved for the longest answer. Times, lengths and predictions have
 * streams of their own: a different rate leaves the requests unchanged.
 * @throws InputError for inconsistent limits
 */
export function sampleArrivals(
  workload: Workload,
  limits: ArrivalLimits,
  random: RandomStream,
): RequestArrival[] {
  checkLimits(workload, limits)
  const [times, lengths, errors] = [fork(random), fork(random), fork(random)]
  const next = arrivalTimes(workload.arrivals, limits.meanRatePerSecond, times)
  const prior = spreadOf(workload.lengths)
  const result: RequestArrival[] = []
  const { count = Infinity, seconds = Infinity, contextTokens, maxNewTokens } = limits
  for (let at = next(); result.length < count && at <= seconds; at = next()) {
    const [prompt, output] = drawLengths(workload.lengths, lengths)
    const outputTokens = Math.min(output, maxNewTokens)
    const predicted = predict(output, prior, workload.predictorLogSd, maxNewTokens, errors)
    result.push({
      arrivalSeconds: at,
      promptTokens: Math.min(prompt, contextTokens - maxNewTokens),
      outputTokens,
      predictedOutputTokens: predicted.mean,
      predictedOutputSd: predicted.sd,
    })
  }
  return result
}

function checkLimits({ arrivals, lengths, predictorLogSd }: Workload, limits: ArrivalLimits): void {
  const { count = Infinity, seconds = Infinity, meanRatePerSecond, contextTokens, maxNewTokens } = limits
  const fail = (place: string, expected: string, found: unknown) => {
    throw new InputError({ where: `workload: ${place}`, expected, found: String(found) })
  }
  if (!(count < Infinity || seconds < Infinity))
    fail('count, seconds', 'an end: a count or seconds', 'neither')
  if (!(meanRatePerSecond > 0 && meanRatePerSecond < 1e6)) {
    fail('meanRatePerSecond', 'a rate above 0', meanRatePerSecond)
  }
  if (!(Number.isInteger(maxNewTokens) && maxNewTokens >= 1))
    fail('maxNewTokens', 'a whole number >= 1', maxNewTokens)
  if (!(Number.isInteger(contextTokens) && contextTokens > maxNewTokens)) {
    fail('contextTokens', `more than maxNewTokens (${maxNewTokens})`, contextTokens)
  }
  if (!(predictorLogSd >= 0 && predictorLogSd < Infinity))
    fail('predictorLogSd', 'a number >= 0', predictorLogSd)
  if (arrivals.kind === 'mmpp') {
    const { burstRatio, meanCalmSeconds, meanBurstSeconds } = arrivals
    if (!(burstRatio >= 1)) fail('burstRatio', '1 or more', burstRatio)
    if (!(meanCalmSeconds > 0 && meanBurstSeconds > 0)) fail('mmpp', 'mean sojourns above 0 s', 'others')
  }
  if (arrivals.kind === 'recorded') {
    const { arrivalSeconds } = arrivals.requests
    if (arrivalSeconds === null) fail('arrivals', 'a recording with times of arrival', 'lengths alone')
    else if (arrivalSeconds.length < 2)
      fail('arrivals', 'a recording of two requests or more', arrivalSeconds.length)
  }
  if (lengths.kind === 'fixed' && !(lengths.promptTokens >= 1 && lengths.outputTokens >= 1)) {
    fail(
      'lengths',
      'a prompt and an output of 1 token or more',
      `${lengths.promptTokens}, ${lengths.outputTokens}`,
    )
  }
}

/** A function that returns the next arrival's time on every call. */
function arrivalTimes(process: ArrivalProcess, rate: number, random: RandomStream): () => number {
  let at = 0
  if (process.kind === 'poisson') return () => (at += random.exponential(1 / rate))
  if (process.kind === 'mmpp') return burstyTimes(process, rate, random)
  const arrivalSeconds = process.requests.arrivalSeconds ?? new Float64Array(0)
  const last = arrivalSeconds.length - 1
  const stretch = last / (arrivalSeconds[last] * rate)
  if (!(stretch > 0 && stretch < Infinity)) {
    throw new InputError({ where: 'workload: arrivals', expected: 'a recording that lasts', found: '0 s' })
  }
  let i = random.integer(last)
  return () => {
    at += (arrivalSeconds[i + 1] - arrivalSeconds[i]) * stretch
    i = (i + 1) % last
    return at
  }
}

/** A two-state Markov-modulated Poisson process with the given mean rate, started in its long-run distribution. */
function burstyTimes(
  process: ArrivalProcess & { kind: 'mmpp' },
  meanRate: number,
  random: RandomStream,
): () => number {
  const { burstRatio, meanCalmSeconds: calm, meanBurstSeconds: burst } = process
  const calmRate = (meanRate * (calm + burst)) / (calm + burstRatio * burst)
  let bursting = random.uniform() < burst / (calm + burst)
  let at = 0
  let change = random.exponential(bursting ? burst : calm)
  return () => {
    for (;;) {
      const rate = bursting ? calmRate * burstRatio : calmRate
      const candidate = at + random.exponential(1 / rate)
      if (candidate < change) return (at = candidate)
      // Exponential gaps have no memory: draw again from the change on.
      at = change
      bursting = !bursting
      change = at + random.exponential(bursting ? burst : calm)
    }
  }
}

/** Mean and sd of the logarithm of the output lengths. */
function spreadOf(lengths: LengthSource): { mean: number; sd: number } {
  if (lengths.kind === 'fixed') return { mean: Math.log(lengths.outputTokens), sd: 0 }
  if (lengths.kind === 'recorded') return moments(lengths.requests.outputTokens)
  return { mean: lengths.model.outputTokens.logMean, sd: lengths.model.outputTokens.logSd }
}

/** Posterior of a predictor that observes log(length) + N(0, errorLogSd^2), capped at the longest answer. */
function predict(
  outputTokens: number,
  prior: { mean: number; sd: number },
  errorLogSd: number,
  maxNewTokens: number,
  random: RandomStream,
): { mean: number; sd: number } {
  const observed = Math.log(outputTokens) + errorLogSd * random.normal()
  if (errorLogSd === 0) return { mean: Math.min(outputTokens, maxNewTokens), sd: 0 }
  const trust = prior.sd ** 2 / (prior.sd ** 2 + errorLogSd ** 2)
  const variance = trust * errorLogSd ** 2
  const mean = Math.exp(prior.mean + trust * (observed - prior.mean) + variance / 2)
  const sd = mean * Math.sqrt(Math.expm1(variance))
  return { mean: Math.min(Math.max(mean, 1), maxNewTokens), sd: Math.min(sd, maxNewTokens) }
}
