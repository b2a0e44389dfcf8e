import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { IntegrityError } from '../../../src/core/errors.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import { learningRateAt, pretrainConfig, stageAt, TALES_MODEL } from '../../../src/lab/pretrain/config.ts'
import type { Network } from '../../../src/lab/pretrain/network.ts'
import { CHECKPOINT_FILE, pretrain, SUMMARY_FILE } from '../../../src/lab/pretrain/run.ts'
import type { PretrainSummary } from '../../../src/lab/pretrain/run.ts'
import { Pretrainer } from '../../../src/lab/pretrain/trainer.ts'
import { parametersOf } from '../../../src/lab/pretrain/weights.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-pretrain-'))
const engine = await openEngine('native')
afterAll(async () => {
  await engine.close()
  rmSync(scratch, { recursive: true, force: true })
})

const network: Network = {
  model: {
    id: 'small',
    family: 'llama',
    layers: 2,
    width: 16,
    heads: 4,
    kvHeads: 2,
    headDim: 4,
    ffnWidth: 24,
    vocabulary: TALES_MODEL.vocabulary,
    contextTokens: 512,
    tiedHead: true,
  },
  exitLayers: [1],
}
const stages = [
  { share: 0.6, batch: 2, window: 24, noteShare: 0.5 },
  { share: 0.4, batch: 1, window: 40, noteShare: 0 },
]

describe('a training', () => {
  test('lowers the loss at the exit and at the end', async () => {
    const config = pretrainConfig({ steps: 60, stages, warmupSteps: 5, peakLearningRate: 1e-2 })
    const trainer = new Pretrainer(network, config, engine)
    const losses: (readonly number[])[] = []
    while (!trainer.finished) losses.push((await trainer.advance()).losses)
    await trainer.close()
    const mean = (from: number, head: number) =>
      losses.slice(from, from + 10).reduce((sum, step) => sum + step[head], 0) / 10
    for (const head of [0, 1]) {
      expect(losses[0][head]).toBeCloseTo(Math.log(TALES_MODEL.vocabulary), 0)
      expect(mean(50, head)).toBeLessThan(mean(0, head) - 0.3)
    }
  })

  test('goes on from a checkpoint exactly where it stood, over a change of stage', async () => {
    const config = pretrainConfig({ steps: 5, stages })
    const straight = new Pretrainer(network, config, engine)
    while (!straight.finished) await straight.advance()
    const first = new Pretrainer(network, config, engine)
    await first.advance()
    await first.advance()
    const bytes = first.checkpoint()
    const second = new Pretrainer(network, config, engine)
    second.restore(bytes, 'checkpoint')
    expect(second.step).toBe(2)
    while (!second.finished) await second.advance()
    expect(second.checkpoint()).toEqual(straight.checkpoint())

    const other = new Pretrainer(network, pretrainConfig({ steps: 6, stages }), engine)
    expect(() => other.restore(bytes, 'checkpoint')).toThrow(/resume with the settings/)
    for (const at of [0, 5, 300, bytes.length - 1]) {
      const damaged = bytes.slice()
      damaged[at] ^= 1
      expect(() => second.restore(damaged, 'checkpoint')).toThrow(IntegrityError)
    }
    expect(() => second.restore(bytes.subarray(0, 10), 'checkpoint')).toThrow(IntegrityError)
    for (const trainer of [straight, first, second, other]) await trainer.close()
  })

  test('has a rate that rises, then falls to its last value, and stages in order', () => {
    const config = pretrainConfig({ steps: 1000 })
    const rates = Array.from({ length: 1000 }, (_, step) => learningRateAt(config, step))
    const top = rates.indexOf(Math.max(...rates))
    expect(top).toBe(config.warmupSteps - 1)
    expect(rates.every((rate, i) => i === 0 || (i <= top ? rate > rates[i - 1] : rate <= rates[i - 1]))).toBe(
      true,
    )
    expect(rates[999]).toBeCloseTo(config.finalLearningRate, 6)
    const windows = Array.from({ length: 1000 }, (_, step) => stageAt(config, step).window)
    expect(windows).toEqual(windows.slice().sort((a, b) => a - b))
    expect(new Set(windows).size).toBe(config.stages.length)
    expect(() => pretrainConfig({ steps: 0 })).toThrow(/an integer in 1/)
  })
})

describe('pretrain', () => {
  const base = { engine, network, steps: 3, validationTales: 2 }
  const bytesOf = (folder: string) =>
    Object.fromEntries(readdirSync(folder).map((file) => [file, readFileSync(join(folder, file), 'base64')]))

  test('writes a model that opens, the same bytes with and without interruption', async () => {
    const [whole, parts] = ['whole', 'parts'].map((name) => join(scratch, name))
    const summary = (await pretrain({ ...base, folder: whole })) as PretrainSummary
    expect(summary.finished).toBe(true)

    let asked = 0
    const stopped = await pretrain({ ...base, folder: parts, stopped: () => asked++ === 1 })
    expect(stopped).toEqual({ finished: false, step: 1, steps: 3 })
    expect(readdirSync(parts)).toEqual([CHECKPOINT_FILE])
    await expect(pretrain({ ...base, folder: parts })).rejects.toThrow(/continue with --resume/)
    await pretrain({ ...base, folder: parts, resume: true })
    expect(bytesOf(parts)).toEqual(bytesOf(whole))
    await expect(pretrain({ ...base, folder: whole, resume: true })).rejects.toThrow(/without --resume/)

    const opened = openPretrained(whole)
    expect(opened.source.model).toEqual({ ...network.model, normEpsilon: 1e-6, ropeBase: 10_000 })
    expect(opened.source.exitLayers).toEqual([1])
    expect(opened.stopIds).toEqual([1])
    expect(opened.tokenizer!.encode('Tom')).toEqual([0, 31, 52, 50])
    expect(opened.tokenizer!.decode([0, 31, 52, 50, 1])).toBe('Tom')
    const rounded = parametersOf(opened.source)
    expect(rounded).toHaveLength(summary.parameters)
    expect(JSON.parse(readFileSync(join(whole, SUMMARY_FILE), 'utf8'))).toEqual(summary)
    for (const [i, quality] of summary.float16.entries()) {
      expect(quality.layer).toBe([1, 2][i])
      expect(quality.perplexity).toBeCloseTo(summary.float32[i].perplexity, 1)
      expect(quality.perplexity).toBeCloseTo(Math.exp(quality.natsPerCharacter), 10)
    }
  })

  test('refuses a damaged checkpoint', async () => {
    const folder = mkdtempSync(join(scratch, 'damaged-'))
    writeFileSync(join(folder, CHECKPOINT_FILE), 'nothing of the kind')
    await expect(pretrain({ ...base, folder, resume: true })).rejects.toThrow(IntegrityError)
  })
})
