import { z } from 'zod'
import { sha256Schema } from '../../core/schema.ts'
import { CALIBRATION_SCHEMA, type Calibration } from '../../plan/profile/types.ts'
import { TERMS } from './types.ts'
import type { TermResult } from './statistics.ts'

/** Name and version of result.json's format. */
export const RESULT_SCHEMA = 'edgewise.calibration-result/1'

const share = z.number()
const seconds = z.number().nullable()
const figures = z.strictObject({
  ttft: seconds,
  tpot: seconds,
  endToEnd: seconds,
  edgeCompute: seconds,
  cloudCompute: seconds,
  transferUp: seconds,
  transferDown: seconds,
  load: seconds,
})
const count = z.int().min(0)

/** Schema of one term's result. */
const termResultSchema = z.strictObject({
  term: z.enum(TERMS),
  link: z.string(),
  count: z.int().min(1),
  medianSignedError: share,
  medianError: share,
  p95Error: share,
  p95ErrorOfRuns: share,
  medianNoise: share,
  p95Noise: share,
  met: z.boolean(),
})

/**
 * Schema of result.json and `edgewise calibrate --json`. Times are seconds of one request; under load the mean over
 * requests.
 */
export const resultSchema = z.strictObject({
  schema: z.literal(RESULT_SCHEMA),
  at: z.string(),
  model: z.string(),
  carriage: z.enum(['relay', 'wan']),
  /** Whether each side had a processor core of its own. */
  pinned: z.boolean(),
  /** Hash of predictions.json, fixed before anything was measured. */
  predictionsSha256: sha256Schema,
  messageSeconds: z.number(),
  /** What the path adds to a message, measured without a link. */
  excessSeconds: z.number(),
  repeats: z.int().min(1),
  /** Repeated runs, because a session was loaded in them. */
  discardedRuns: count,
  links: z.array(z.strictObject({ id: z.string(), label: z.string(), phaseSeconds: z.number() })),
  leftOut: z.array(z.strictObject({ plan: z.string(), reason: z.string() })),
  terms: z.array(termResultSchema),
  met: z.boolean(),
  cells: z.array(
    z.strictObject({
      id: z.string(),
      plan: z.string(),
      link: z.string(),
      load: z.enum(['alone', 'poisson']),
      promptTokens: count,
      outputTokens: count,
      predicted: figures,
      /** Medians over the runs. */
      measured: figures,
      runs: z.array(figures),
      /** As predicted, and verified; down except for answers whose number differed from the prediction. */
      upBytes: count,
      downBytes: count,
      /**
       * Answers of the cloud for all requests, if their number depends on confidence: predicted from the measured
       * share, and actual.
       */
      answers: z.strictObject({ predicted: count, measured: z.number().min(0) }).nullable(),
    }),
  ),
})

/** Result of a calibration. */
export type CalibrationResult = z.infer<typeof resultSchema>

/** The part of a result that is stored in a profile. */
export function calibrationOf(result: CalibrationResult, file?: string): Calibration {
  return {
    schema: CALIBRATION_SCHEMA,
    at: result.at,
    ...(file === undefined ? {} : { file }),
    terms: result.terms.map(summary),
    verdict: result.met ? 'met' : 'missed',
  }
}

function summary(result: TermResult): Calibration['terms'][number] {
  const { term, link, medianSignedError, p95Error, medianNoise, count: cells } = result
  return {
    term,
    link,
    count: cells,
    noise: medianNoise,
    medianRelativeError: medianSignedError,
    p95RelativeError: p95Error,
  }
}
