import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { openEngine } from '../../src/core/engine/open.ts'
import { buildSubgraph } from '../../src/model/graphs/subgraph.ts'
import { sha256 } from '../../src/core/files.ts'
import { GRAPH_VERSION, openSubgraphStore } from '../../src/model/graphs/subgraphStore.ts'
import type { Subgraph, SubgraphPart } from '../../src/model/graphs/subgraphTypes.ts'
import type { RuntimePrecision } from '../../src/model/precision.ts'
import type { WeightSource } from '../../src/model/graphs/source.ts'
import { advance, Caches, data, idsOf, wholeLayers, wholeModel } from './subgraphRun.ts'
import { gpt2Like, groupedLike, maxDifference, randomSource } from './support.ts'
import { loadModel } from '../core/onnx/modelFile.ts'

const IDS = [3, 60, 0, 17, 42]
const PAGE = 4096

const root = mkdtempSync(join(tmpdir(), 'edgewise-segments-'))
let folder = root
let folders = 0
beforeEach(() => {
  folder = join(root, String(folders++))
})
afterAll(() => rmSync(root, { recursive: true }))

/** Wide enough for tensors on pages of their own. */
const gpt2 = { ...gpt2Like, width: 96, ffnWidth: 200 }
const grouped = { ...groupedLike, width: 96, ffnWidth: 200 }

/** A source that tells how often it was asked. */
function counted(source: WeightSource): { source: WeightSource; calls: () => number } {
  let calls = 0
  const ask =
    <A extends unknown[], R>(inner: (...args: A) => R) =>
    (...args: A): R => {
      calls++
      return inner(...args)
    }
  return {
    calls: () => calls,
    source: {
      ...source,
      embedding: ask(() => source.embedding()),
      attention: ask((layer: number) => source.attention(layer)),
      ffn: ask((layer: number) => source.ffn(layer)),
      head: ask(() => source.head()),
      exitHead: ask((layer: number) => source.exitHead(layer)),
    },
  }
}

const weightFiles = () => readdirSync(folder).filter((name) => name.endsWith('.bin'))

describe.each(['native', 'wasm'] as const)('stored segments on %s', (kind) => {
  test.each<[RuntimePrecision, typeof gpt2]>([
    ['fp32', gpt2],
    ['int8', gpt2],
    ['int4', gpt2],
    ['fp32', grouped],
    ['int8', grouped],
    ['int4', grouped],
  ])('%s: compute what they do with their weights inside', async (precision, model) => {
    const engine = await openEngine(kind)
    const source = randomSource(model)
    const whole = wholeModel(model)
    const inside = await engine.create(buildSubgraph(source, whole, { precision }).serialize())
    const { path } = openSubgraphStore(folder, source, precision).store(whole)
    expect(statSync(path).size).toBeLessThan(30_000)
    const outside = await engine.create(path)
    const run = async (session: typeof inside) => {
      const caches = new Caches(model, whole, 16)
      await advance(session, caches, 4, { ids: idsOf(IDS.slice(0, 4)) })
      return data((await advance(session, caches, 1, { ids: idsOf(IDS.slice(4)) })).logits)
    }
    expect(maxDifference(await run(outside), await run(inside))).toBeLessThan(1e-6)
    await engine.close()
  })
})

describe('the store', () => {
  const source = randomSource(gpt2)

  test('writes a block once, for all segments, and asks for weights only then', () => {
    const { source: asked, calls } = counted(source)
    const store = openSubgraphStore(folder, asked, 'fp32')
    const first = store.store(wholeModel(gpt2))
    expect(first.writtenBytes).toBeGreaterThan(first.weightBytes)
    const written = weightFiles()
    const before = calls()
    expect(store.store(wholeModel(gpt2)).writtenBytes).toBe(0)
    const batch = store.store(wholeModel(gpt2), 3)
    expect(batch.writtenBytes).toBe(statSync(batch.path).size)
    const other: Subgraph = { input: 'x', parts: [...wholeLayers(gpt2, 1, 2), { kind: 'head' }] }
    const tail = openSubgraphStore(folder, asked, 'fp32').store(other)
    expect(tail.writtenBytes).toBe(statSync(tail.path).size)
    expect(calls()).toBe(before)
    expect(weightFiles()).toEqual(written)
    // A tied head needs no matrix of its own.
    expect(written.some((name) => name.startsWith('embedding.'))).toBe(true)
    expect(
      statSync(
        join(
          folder,
          written.find((name) => name.startsWith('head.'))!,
        ),
      ).size,
    ).toBeLessThan(1000)
  })

  test('counts the constants of the segment, not those of its files', () => {
    const half: Subgraph = { input: 'x', parts: [{ kind: 'ffn', layer: 0, part: 'first' }] }
    const stored = openSubgraphStore(folder, source, 'fp32').store(half)
    expect(stored.weightBytes).toBe(4 * (gpt2.width * gpt2.ffnWidth + gpt2.ffnWidth + 2 * gpt2.width))
    expect(weightFiles()).toEqual(['layer0.ffnFirst.fp32.v2.bin'])
  })

  test('puts large tensors on page boundaries', () => {
    const { path } = openSubgraphStore(folder, source, 'fp32').store(wholeModel(gpt2))
    const found = loadModel(path).graph.initializers.flatMap((it) => ('external' in it ? [it.external] : []))
    const large = found.filter(({ lengthBytes }) => lengthBytes >= 4 * PAGE)
    expect(large.length).toBeGreaterThan(8)
    for (const { offsetBytes } of large) expect(offsetBytes % PAGE).toBe(0)
    for (const { offsetBytes } of found) expect(offsetBytes % 64).toBe(0)
  })

  test('writes damaged files anew and leaves whole ones alone', () => {
    const store = openSubgraphStore(folder, source, 'fp32')
    const { path } = store.store(wholeModel(gpt2))
    const names = weightFiles()
    const contents = names.map((name) => readFileSync(join(folder, name)))
    const sizes = contents.map((content) => content.byteLength)
    for (const name of names) utimesSync(join(folder, name), 1, 1)
    truncateSync(join(folder, names[0]), 10)
    truncateSync(path, 10)
    expect(store.store(wholeModel(gpt2)).writtenBytes).toBe(sizes[0] + statSync(path).size)
    for (const [i, name] of names.entries()) {
      expect(readFileSync(join(folder, name)).equals(contents[i])).toBe(true)
      expect(statSync(join(folder, name)).mtimeMs === 1000).toBe(i !== 0)
    }
    expect(readdirSync(folder).some((name) => name.endsWith('.tmp'))).toBe(false)
  })

  test('uses a graph that is there without asking for a weight or building it', () => {
    openSubgraphStore(folder, source, 'fp32').store(wholeModel(gpt2))
    const { source: asked, calls } = counted(source)
    const built = openSubgraphStore(folder, source, 'fp32').store(wholeModel(gpt2))
    // A graph of another content, properly recorded, is not compared with one that is built.
    const other = Buffer.from('any bytes')
    const record = JSON.parse(readFileSync(`${built.path}.json`, 'utf8'))
    writeFileSync(built.path, other)
    writeFileSync(`${built.path}.json`, JSON.stringify({ ...record, graphSha256: sha256(other) }))
    expect(openSubgraphStore(folder, asked, 'fp32').store(wholeModel(gpt2))).toEqual(built)
    expect(readFileSync(built.path).equals(other)).toBe(true)
    expect(calls()).toBe(0)
  })

  test('builds a graph anew where it, its record or a file of weights is missing, cut short or another', () => {
    const store = openSubgraphStore(folder, source, 'fp32')
    const { path } = store.store(wholeModel(gpt2))
    const names = readdirSync(folder)
    const contents = names.map((name) => readFileSync(join(folder, name)))
    const whole = () => names.every((name, i) => readFileSync(join(folder, name)).equals(contents[i]))
    const harms: ((file: string) => void)[] = [
      (file) => rmSync(file),
      (file) => truncateSync(file, 10),
      (file) => truncateSync(file, 0),
    ]
    for (const name of names) {
      for (const harm of harms) {
        harm(join(folder, name))
        store.store(wholeModel(gpt2))
        expect([name, whole()]).toEqual([name, true])
      }
    }
    // A graph of the right length, and a record that names what lies elsewhere.
    writeFileSync(path, Buffer.alloc(statSync(path).size, 7))
    expect(store.store(wholeModel(gpt2)).writtenBytes).toBe(statSync(path).size)
    writeFileSync(
      `${path}.json`,
      JSON.stringify({ graphSha256: sha256(readFileSync(path)), weightBytes: 1, blocks: { '../x.bin': 0 } }),
    )
    expect(store.store(wholeModel(gpt2)).weightBytes).toBeGreaterThan(1)
    expect(whole()).toBe(true)
  })

  test('keeps models of other shapes apart, even in one folder', () => {
    const wide = { ...gpt2, ffnWidth: 264 }
    const [one, two] = [source, randomSource(wide)].map((it) => openSubgraphStore(folder, it, 'fp32'))
    const first = one.store(wholeModel(gpt2))
    const second = two.store(wholeModel(wide))
    expect(second.path).not.toBe(first.path)
    expect(second.weightBytes).toBeGreaterThan(first.weightBytes)
    // The files of weights were overwritten: the first graph's are made again.
    const again = one.store(wholeModel(gpt2))
    expect(again).toMatchObject({ path: first.path, weightBytes: first.weightBytes })
    expect(again.writtenBytes).toBeGreaterThan(0)
  })

  test("has a version that tells today's graphs from others: raise GRAPH_VERSION where this digest changes", () => {
    const parts: Subgraph[] = [
      { input: 'x', parts: [{ kind: 'attention', layer: 0, units: [1], residual: false }] },
      { input: 'x+partial', parts: [{ kind: 'ffn', layer: 0, part: 'first' }] },
      { input: 'x+hidden', parts: [{ kind: 'ffn', layer: 0, part: 'second' }] },
    ]
    const digests: string[] = []
    for (const model of [gpt2, grouped]) {
      for (const precision of ['fp32', 'int8', 'int4'] as const) {
        const store = openSubgraphStore(join(folder, model.id), randomSource(model), precision)
        for (const segment of [wholeModel(model), ...parts]) {
          for (const batch of [1, 2]) digests.push(sha256(readFileSync(store.store(segment, batch).path)))
        }
      }
    }
    expect([GRAPH_VERSION, sha256(digests.join())]).toEqual([
      2,
      'd20cfc5601c148e2819b987099796df1cd68b7571c0db02d07e2e26de222262e',
    ])
  })

  test('keeps names short and apart, whatever units are asked for', () => {
    const many = { ...gpt2, heads: 200, kvHeads: 200, headDim: 2, layers: 1 }
    const store = openSubgraphStore(folder, randomSource(many), 'fp32')
    const even = Array.from({ length: 100 }, (_, i) => 2 * i)
    const part = (units: number[]): SubgraphPart => ({
      kind: 'attention',
      layer: 0,
      units,
      residual: true,
    })
    const paths = [even, [...even].reverse(), even.map((unit) => unit + 1)].map(
      (units) => store.store({ input: 'x', parts: [part(units)] }).path,
    )
    expect(new Set(paths).size).toBe(3)
    expect(weightFiles()).toHaveLength(3)
    for (const name of readdirSync(folder)) expect(name.length).toBeLessThan(145)
  })
})
