import { EdgewiseError } from '../../core/errors.ts'
import type { ExecutionEvent } from '../../run/executor/types.ts'
import { openFrame, planFrame } from '../../run/executor/messages.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { cloudSamples, lowerPlan } from '../../plan/lower.ts'
import { needsCloud } from '../../plan/plan.ts'
import { idsFrame } from '../../run/wire/payloads.ts'
import { FRAME_HEADER_BYTES, type Frame } from '../../run/wire/types.ts'
import { dependsOnConfidence } from './plans.ts'
import { mean, openingOfCell, type Prediction } from './predict.ts'
import {
  NO_TERM_VALUES,
  type Cell,
  type TermValues,
  type PlanCase,
  type RequestRecord,
  type RunRecord,
} from './types.ts'

/** Whether a session was loaded during the run. Such a run measures a first use, and is repeated. */
export function hasLoads({ requests }: RunRecord): boolean {
  return requests.some(({ events }) => events.some(({ kind }) => kind === 'load'))
}

/** The terms of a cell as measured in one run. `answers`: see answersOf. */
export function measuredFigures(cell: Cell, { requests }: RunRecord, answers: number | null): TermValues {
  const alone = cell.load === 'alone'
  const over = (of: (record: RequestRecord) => number): number => mean(requests.map(of))
  const ttft = over((record) => record.tokenSeconds[0] - begin(record, alone))
  const endToEnd = over(
    (record) => record.tokenSeconds[record.tokenSeconds.length - 1] - begin(record, alone),
  )
  return {
    ...NO_TERM_VALUES,
    ttft,
    endToEnd,
    tpot: cell.outputTokens === 1 ? null : (endToEnd - ttft) / (cell.outputTokens - 1),
    edgeCompute: over(({ events }) => computeSeconds(events, 'edge')),
    cloudCompute: over(({ events }) => computeSeconds(events, 'cloud')),
    transferUp: alone ? over(({ events }) => transferSeconds(events, 'edge')) : null,
    // Without any question to the cloud there is no answer whose time could be measured.
    transferDown: alone && answers !== 0 ? over(({ events }) => transferSeconds(events, 'cloud')) : null,
  }
}

/**
 * For an unloaded request the time starts at its dispatch, so that the lateness of timers does not count; under load it
 * starts at its arrival.
 */
function begin({ arrivalSeconds, dispatchSeconds }: RequestRecord, alone: boolean): number {
  return alone ? dispatchSeconds : arrivalSeconds
}

/** Seconds in the engine, without waiting for it. */
function computeSeconds(events: readonly ExecutionEvent[], side: ExecutionEvent['side']): number {
  return events.reduce(
    (sum, event) =>
      event.kind === 'compute' && event.side === side ? sum + event.endSeconds - event.startSeconds : sum,
    0,
  )
}

/** Sum over messages from sending to receiving; messages that no step waited for do not count. */
function transferSeconds(events: readonly ExecutionEvent[], from: ExecutionEvent['side']): number {
  const key = ({ step, position }: ExecutionEvent): string => `${step}/${position}`
  const receipts = new Map(
    events
      .filter(({ kind, side }) => kind === 'receive' && side !== from)
      .map((event) => [key(event), event]),
  )
  let seconds = 0
  for (const event of events) {
    if (event.kind !== 'send' || event.side !== from) continue
    const receipt = receipts.get(key(event))
    if (receipt !== undefined) seconds += receipt.endSeconds - event.startSeconds
  }
  return seconds
}

/**
 * Tokens that the cloud sent in answer to a question, as received by the edge; null if the number of a plan's messages
 * does not depend on confidence.
 */
export function answersOf({ placed }: PlanCase, { requests }: RunRecord): number | null {
  if (!dependsOnConfidence(placed)) return null
  const events = requests.flatMap((request) => request.events)
  return events.filter(({ kind, side }) => kind === 'receive' && side === 'edge').length
}

/** A byte count that differs from the prediction: the model of the wire is wrong. */
class BytesError extends EdgewiseError {
  constructor(cell: string, what: string, expected: number, found: number) {
    super('E_BYTES', `${cell}: ${what}\n  predicted: ${expected} bytes\n  found: ${found} bytes`)
  }
}

/**
 * Compares the bytes of every run with the prediction: data by the program, control by the encoders of its frames.
 * Tracks which plans each connection has sent. For a collaborative exit the program gives only the mean number of
 * answers; there, every answer must have the size of one.
 */
export class ByteAudit {
  private readonly model: ModelSpec
  private readonly said = new Map<string, string[]>()

  constructor(model: ModelSpec) {
    this.model = model
  }

  /** Throws BytesError on any difference. */
  check(cell: Cell, plan: PlanCase, prediction: Prediction, run: RunRecord): void {
    const { upData, downData, upControl } = run.bytes
    const expect = (what: string, expected: number, found: number): void => {
      if (expected !== found) throw new BytesError(cell.id, what, expected, found)
    }
    const answers = answersOf(plan, run)
    const downBytes = answers === null ? prediction.downBytes : answers * ANSWER_BYTES
    expect('messages up', prediction.upBytes, upData)
    expect('messages down', downBytes, downData)
    const events = run.requests.flatMap((request) => request.events)
    expect('messages up, as the edge noted them', prediction.upBytes, sent(events, 'edge'))
    expect('messages down, as the cloud noted them', downBytes, sent(events, 'cloud'))
    expect('plan, opening and closing', this.control(cell, plan, run.requests.length), upControl)
  }

  private control(cell: Cell, { id, placed }: PlanCase, requests: number): number {
    const { model } = this
    if (!needsCloud(placed.plan)) return 0
    const said = this.said.get(cell.link) ?? []
    this.said.set(cell.link, said)
    let bytes = 0
    if (!said.includes(id)) {
      said.push(id)
      bytes += sizeOf(planFrame(model, said.length, placed))
    }
    const opening = openingOfCell(cell, said.indexOf(id) + 1)
    // The edge tells the cloud of the end, unless the cloud sampled the last token.
    const closing = cloudSamples(lowerPlan(model, placed.plan)) ? 0 : FRAME_HEADER_BYTES
    return bytes + requests * (sizeOf(openFrame(1, opening)) + closing)
  }
}

function sizeOf({ payload }: Pick<Frame, 'payload'>): number {
  return FRAME_HEADER_BYTES + payload.byteLength
}

/** Bytes of one token sent by the cloud. */
export const ANSWER_BYTES = sizeOf(idsFrame([0], { step: 0, position: 0 }))

function sent(events: readonly ExecutionEvent[], from: ExecutionEvent['side']): number {
  return events.reduce(
    (sum, { kind, side, bytes }) => (kind === 'send' && side === from ? sum + bytes : sum),
    0,
  )
}
