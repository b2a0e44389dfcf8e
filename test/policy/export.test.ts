import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Engine } from '../../src/core/engine/types.ts'
import { parameterOf } from '../../src/core/onnx/parameters.ts'
import { decodeModel } from '../../src/core/onnx/read.ts'
import { encodeModel } from '../../src/core/onnx/write.ts'
import { actorLayout } from '../../src/policy/actor/actor.ts'
import { policyModel } from '../../src/policy/actor/graph.ts'
import { readBundle } from '../../src/policy/bundle/files.ts'
import { openParityEngines, verifyBundle } from '../../src/policy/bundle/verify.ts'
import { exportBundle, ParityError } from '../../src/policy/bundle/export.ts'
import { checkParity } from '../../src/policy/parity/parity.ts'
import { editManifest, numbersOf, problemOf, replaceFile, scratch, sourceOf, TERMS } from './bundleSupport.ts'

const SMALL = { random: 200, walks: 40, ties: 60 }
const problem = problemOf('tiny')
const numbers = numbersOf(problem)
const source = sourceOf(problem, numbers)
const folder = scratch()
let engines: Engine[]

beforeAll(async () => {
  const opened = await openParityEngines()
  expect(opened.absent).toEqual([])
  engines = opened.engines
})
afterAll(async () => {
  folder.remove()
  for (const engine of engines) await engine.close()
})

/** The file with one number of a parameter changed. */
function withFlipped(name: string, change: (value: number) => number): Uint8Array {
  const model = decodeModel(policyModel(numbers.spec, numbers.parameters, numbers.normaliser))
  const initializer = model.graph.initializers.find((candidate) => candidate.name === name)
  if (initializer === undefined || !('tensor' in initializer)) throw new Error(`no ${name}`)
  const data = initializer.tensor.data as Float32Array
  data[3] = change(data[3])
  return encodeModel(model)
}

describe('an export', () => {
  test('is verified over thousands of observations, and again from the bundle alone', async () => {
    const out = folder.path('whole')
    const { parity, manifest, bytes } = await exportBundle(source, out, engines)
    expect(parity.observations).toBeGreaterThan(3000)
    expect(parity).toMatchObject({
      ok: true,
      greedyDisagreements: 0,
      sampledDisagreements: 0,
    })
    expect(parity.maxAbsError).toBeLessThanOrEqual(1e-5)
    // Two float32 implementations are not equal to the last bit: an error of 0 would mean nothing was compared.
    expect(parity.maxRawError).toBeGreaterThan(0)
    expect(parity.sampledBorderline).toBeLessThan(0.02 * parity.rows * 4)
    expect(parity.engines.map(({ engine }) => engine)).toEqual(['onnxruntime-node', 'onnxruntime-web'])
    expect(manifest).toMatchObject({ schema: 'edgewise.bundle/1', name: 'whole', policy: { update: 7 } })
    expect(bytes).toBeGreaterThan(10_000)
    const again = await verifyBundle(out, { engines })
    expect(again).toMatchObject({
      ok: true,
      greedyDisagreements: 0,
      observations: parity.observations,
      absent: [],
    })
    expect(again.maxRawError).toBe(parity.maxRawError)
    expect(folder.names()).toEqual(['whole'])
  })

  test('gives equal bytes for equal policies', async () => {
    const read = (name: string, file: string) => readFileSync(join(folder.path(name), 'equal', file))
    for (const name of ['one', 'two'])
      await exportBundle(source, join(folder.path(name), 'equal'), engines, { sizes: SMALL })
    for (const file of [
      'policy.onnx',
      'manifest.json',
      'edge.profile.json',
      'cloud.profile.json',
      'accuracy.json',
    ]) {
      expect(read('one', file).equals(read('two', file)), file).toBe(true)
    }
  })

  test.each([
    ['a weight of the encoder', 'encoder.0.weight', (value: number) => value + 1e-2],
    ["a bias of the layer's head", 'head.layer.out.bias', (value: number) => value + 1],
    ['the normaliser', 'normaliser.mean', (value: number) => value + 1],
  ])(
    'fails where %s in the file is not the trained one, and leaves nothing',
    async (_name, parameter, change) => {
      const out = folder.path('flipped')
      const before = folder.names()
      const failure = await exportBundle(source, out, engines, {
        sizes: SMALL,
        model: withFlipped(parameter, change),
      }).catch((error: unknown) => error)
      expect(failure).toBeInstanceOf(ParityError)
      expect((failure as Error).message).toMatch(
        /policy\.onnx[\s\S]*worst: onnxruntime-\w+ [\d.]+: \w+ row \d+, head/,
      )
      expect(folder.names()).toEqual(before)
    },
  )

  test('fails where the graph breaks ties another way', async () => {
    const model = decodeModel(policyModel(numbers.spec, numbers.parameters, numbers.normaliser))
    const nodes = model.graph.nodes.map((node) =>
      node.opType === 'ArgMax'
        ? {
            ...node,
            attributes: { ...node.attributes, select_last_index: { type: 'int', value: 1 } as const },
          }
        : node,
    )
    const last = encodeModel({ ...model, graph: { ...model.graph, nodes } })
    const report = await checkParity(last, numbers, problem, TERMS, engines, SMALL)
    expect(report.ok).toBe(false)
    expect(report.maxAbsError).toBeLessThanOrEqual(1e-5)
    expect(report.greedyDisagreements).toBeGreaterThan(0)
    expect(report.worst).toMatch(/ties row \d+, head (plan|layer): greedy/)
  })

  test('is not taken in by a bundle whose weight was changed and sealed again: the run knows better', async () => {
    const out = folder.path('resealed')
    cpSync(folder.path('whole'), out, { recursive: true })
    const flipped = withFlipped('head.layer.out.bias', (value) => value + 1)
    replaceFile(out, 'policy.onnx', flipped)
    editManifest(out, (manifest) => ({ ...manifest, name: 'resealed' }))
    // From the bundle alone the file agrees with itself; against the run's numbers it does not.
    expect((await verifyBundle(out, { engines, sizes: SMALL })).ok).toBe(true)
    const report = await checkParity(readBundle(out).model, numbers, problem, TERMS, engines, SMALL)
    expect(report.ok).toBe(false)
    expect(report.maxAbsError).toBeGreaterThan(1e-3)
  })

  test('refuses a missing engine, a target in use, a misfit actor and an evaluation without provenance', async () => {
    const refusal = async (...args: Parameters<typeof exportBundle>) =>
      String(await exportBundle(...args).catch((error: unknown) => error))
    const out = folder.path('refused')
    expect(await refusal(source, out, [engines[0]])).toMatch(/native and WASM, both/)
    expect(await refusal(source, folder.path('whole'), engines)).toMatch(/found: a bundle/)
    mkdirSync(folder.path('other'))
    writeFileSync(join(folder.path('other'), 'notes.txt'), 'mine')
    expect(await refusal(source, folder.path('other'), engines, { replace: true })).toMatch(
      /other files in it/,
    )
    const gpt2 = sourceOf(problemOf('gpt2'), numbers)
    expect(await refusal(gpt2, out, engines)).toMatch(/policy: action\.heads\.1/)
    const evaluation = { policies: { ppo: { cost: { mean: 1 } } }, seeds: 1, decisions: 1 }
    expect(await refusal({ ...source, evaluation }, out, engines, { sizes: SMALL })).toMatch(/provenance/)
    expect(existsSync(out)).toBe(false)
    expect(folder.names().filter((name) => name.includes('.tmp'))).toEqual([])
  })

  test('replaces a bundle when told to', async () => {
    const out = folder.path('replaced')
    cpSync(folder.path('whole'), out, { recursive: true })
    const other = sourceOf(problem, numbersOf(problem, 2))
    await exportBundle({ ...other, evaluation: null }, out, engines, { sizes: SMALL, replace: true })
    expect(readBundle(out).manifest).toMatchObject({ name: 'replaced', evaluation: null })
    expect(folder.names().filter((name) => name.includes('.tmp'))).toEqual([])
  })
})

test('an untrained policy and a loud one pass too, on a larger model', async () => {
  const large = problemOf('gpt2')
  // At a noise of 0.5 and more, edges lose the fifth digit to float32's cancellation in some draws.
  for (const noise of [0, 0.3]) {
    const wild = numbersOf(large, 3, noise)
    const model = policyModel(wild.spec, wild.parameters, wild.normaliser)
    const report = await checkParity(model, wild, large, TERMS, engines, {
      random: 400,
      walks: 60,
      ties: 100,
    })
    expect(report, report.worst ?? '').toMatchObject({
      ok: true,
      greedyDisagreements: 0,
      sampledDisagreements: 0,
    })
  }
})

test('near ties are told apart from disagreements, and counted', async () => {
  const layout = actorLayout(numbers.spec)
  const near = { ...numbers, parameters: numbers.parameters.slice() }
  const weight = parameterOf(layout, near.parameters, 'head.plan.out.weight')
  const bias = parameterOf(layout, near.parameters, 'head.plan.out.bias')
  const { choices } = near.spec.heads[0]
  // All choices but for a breath alike: rounding decides, on each engine in its own way.
  for (let i = 0; i < weight.length; i++) weight[i] = weight[i - (i % choices)]
  bias.forEach((_, c) => (bias[c] = bias[0] + c * 1e-7))
  const model = policyModel(near.spec, near.parameters, near.normaliser)
  const report = await checkParity(model, near, problem, TERMS, engines, SMALL)
  expect(report).toMatchObject({ ok: true, greedyDisagreements: 0 })
  expect(report.greedyBorderline).toBeGreaterThan(300)
  // An engine that does not take the largest of its own logits has no such excuse.
  const decoded = decodeModel(model)
  const nodes = decoded.graph.nodes.map((node) =>
    node.opType === 'ArgMax' ? { ...node, opType: 'ArgMin' } : node,
  )
  const least = encodeModel({ ...decoded, graph: { ...decoded.graph, nodes } })
  const refused = await checkParity(least, near, problem, TERMS, engines, SMALL)
  expect(refused.greedyDisagreements).toBeGreaterThan(300)
})

test('a file with a number that is none never passes', async () => {
  const layout = actorLayout(numbers.spec)
  const broken = { ...numbers, parameters: numbers.parameters.slice() }
  parameterOf(layout, broken.parameters, 'head.plan.out.bias')[0] = NaN
  const model = policyModel(broken.spec, broken.parameters, broken.normaliser)
  const report = await checkParity(model, broken, problem, TERMS, engines, SMALL)
  expect(report.ok).toBe(false)
  expect(report.maxAbsError).toBe(Infinity)
})
