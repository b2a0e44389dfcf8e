/**
 * The weights of a request's cost, docs/model.md (21): wT x latency + wE x edge joules + wC x cloud busy seconds + wB x
 * megabytes up + wA x added log-perplexity.
 */
export interface Weights {
  /** Per second of the latency term. */
  readonly latency: number
  /** Per joule at the edge. */
  readonly energy: number
  /** Per busy second of a cloud slot. */
  readonly cloud: number
  /** Per megabyte (10^6 bytes) up. */
  readonly bytes: number
  /** Per nat of added log-perplexity. */
  readonly accuracy: number
}

/**
 * mean: end-to-end seconds. qoe: TTFT plus stalls of a reader at `readingTokensPerSecond`. convex: end-to-end seconds
 * T, plus (T - deadline)^2 above the deadline.
 */
export type LatencyForm =
  | { readonly form: 'mean' }
  | { readonly form: 'qoe'; readonly readingTokensPerSecond: number }
  | { readonly form: 'convex'; readonly deadlineSeconds: number }

/** Weights and form of the latency term. */
export interface Objective {
  readonly weights: Weights
  readonly latency: LatencyForm
}

/** Objective of a scenario that names none. */
export const DEFAULT_OBJECTIVE: Objective = {
  weights: { latency: 1, energy: 0, cloud: 0, bytes: 0, accuracy: 1 },
  latency: { form: 'mean' },
}

/** The latency term in seconds, from times since arrival and the reader's stalls. */
export function latencyTerm(
  form: LatencyForm,
  ttftSeconds: number,
  e2eSeconds: number,
  stallSeconds: number,
): number {
  if (form.form === 'mean') return e2eSeconds
  if (form.form === 'qoe') return ttftSeconds + stallSeconds
  const late = Math.max(0, e2eSeconds - form.deadlineSeconds)
  return e2eSeconds + late * late
}

/** What one request took, in the units that the weights price. */
interface Consumption {
  readonly latencySeconds: number
  readonly edgeJoules: number
  readonly cloudSeconds: number
  readonly upBytes: number
  readonly accuracyLoss: number
}

/** The cost of a request, in the unit of the latency weight (seconds at weight 1): docs/model.md (21). */
export function requestCost(weights: Weights, used: Consumption): number {
  return (
    weights.latency * used.latencySeconds +
    weights.energy * used.edgeJoules +
    weights.cloud * used.cloudSeconds +
    (weights.bytes * used.upBytes) / 1e6 +
    weights.accuracy * used.accuracyLoss
  )
}
