import { describe, expect, it } from 'vitest'
import { randomStream } from '../../../src/core/random.ts'
import { gridPlans } from '../../../src/lab/calibrate/plans.ts'
import { openingOfCell, Predictor, type LinkEmulationTerms } from '../../../src/lab/calibrate/predict.ts'
import type { Cell } from '../../../src/lab/calibrate/types.ts'
import { simulateUnloaded } from '../../../src/lab/calibrate/unloaded.ts'
import { openFrame } from '../../../src/run/executor/messages.ts'
import { compileProgram } from '../../../src/plan/price/compile.ts'
import { DEFAULT_NETWORK } from '../../../src/plan/price/network.ts'
import { constantSeries, createLink } from '../../../src/trace/link.ts'
import { FRAME_HEADER_BYTES } from '../../../src/run/wire/types.ts'
import { randomPair } from '../../plan/randomPair.ts'

const { model, edge, accuracy } = randomPair(randomStream(3, 'predict'), { layers: 2, units: 2 })
const { plans } = gridPlans(model, accuracy, [])
const RATE = 1e6
const RTT = 0.05
const link = { id: 'link', series: constantSeries(RATE, RATE, RTT), phaseSeconds: 1 }
const cellOf = (plan: string, promptTokens: number): Cell => ({
  id: plan,
  plan,
  link: link.id,
  load: 'alone',
  arrivalSeconds: [0],
  promptTokens,
  outputTokens: 3,
})
const predictor = (terms: Partial<LinkEmulationTerms>) =>
  new Predictor(edge.profile, accuracy, { excessSeconds: 0, tcpDynamics: false, ...terms }, plans, [link])

describe('predictions', () => {
  it('add the opening of a request to what its first message takes, and to no count of messages', () => {
    const cell = cellOf('cloud', 5)
    const { pair, ...one } = { pair: predictor({}).pair, ...predictor({}).predict(cell) }
    const { plan } = plans.find(({ id }) => id === 'cloud')!.placed
    const program = compileProgram(pair, plan, { promptTokens: 5, loadBytes: 0, decisionSeconds: 0 })
    const plain = simulateUnloaded(program, createLink(link.series), pair.network, cell, link.phaseSeconds)
    const bytes = FRAME_HEADER_BYTES + openFrame(1, openingOfCell(cell, 1)).payload.byteLength
    expect(one.figures.ttft! - plain.ttftSeconds).toBeCloseTo((8 * bytes) / RATE, 9)
    expect(one.figures.transferUp! - plain.upSeconds).toBeCloseTo((8 * bytes) / RATE, 9)
    expect(one.figures.tpot).toBeCloseTo((plain.endToEndSeconds - plain.ttftSeconds) / 2, 9)
    expect([one.upBytes, one.downBytes]).toEqual([plain.upBytes, plain.downBytes])
  })

  it('know of windows where TCP is real, and of none over a relay', () => {
    const tokens = 1 + Math.ceil(DEFAULT_NETWORK.windowBytes / (4 * model.width))
    const of = (promptTokens: number, tcpDynamics: boolean) =>
      predictor({ tcpDynamics }).predict(cellOf('cut 32 bits, sampler at the edge', promptTokens)).figures
    const added = (promptTokens: number) => of(promptTokens, true).ttft! - of(promptTokens, false).ttft!
    expect(added(tokens)).toBeCloseTo(DEFAULT_NETWORK.beyondWindowRtts * RTT, 9)
    expect(added(2)).toBe(0)
  })

  it('charge every message with what its link emulation adds', () => {
    const of = (excessSeconds: number) => predictor({ excessSeconds }).predict(cellOf('cloud', 5)).figures
    // Ids up once, three tokens down.
    expect(of(0.01).transferUp! - of(0).transferUp!).toBeCloseTo(0.01, 9)
    expect(of(0.01).transferDown! - of(0).transferDown!).toBeCloseTo(0.03, 9)
  })
})
