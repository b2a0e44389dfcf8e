import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EdgewiseError, InputError, IntegrityError } from '../../src/core/errors.ts'
import { decideJsonSchema } from '../../src/cli/json/bundle.ts'
import { packJsonSchema, type PackJson } from '../../src/cli/json/pack.ts'
import { generationJsonSchema } from '../../src/cli/json/split.ts'
import { digestOf, filesBelow } from '../../src/cli/pack/folder.ts'
import { describeFolder, PACK_FORMAT, readPack } from '../../src/cli/pack/manifest.ts'
import { runtimeFor, TARGETS, thisMachine, type Target } from '../../src/cli/pack/target.ts'
import { EXIT_INTERRUPTED } from '../../src/cli/program.ts'
import { openEngine } from '../../src/core/engine/open.ts'
import { exportBundle } from '../../src/policy/bundle/export.ts'
import { problemOf, sourceOf } from '../policy/bundleSupport.ts'
import { edgewise, removeWorld } from './splitWorld.ts'

const root = resolve(import.meta.dirname, '../..')
const built = existsSync(join(root, 'dist', 'edge-program.js'))
const scratch = mkdtempSync(join(tmpdir(), 'edgewise-pack-'))
const at = (...names: string[]): string => join(scratch, ...names)
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true })
  removeWorld()
})

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}

/** The error of a call, which must fail as expected errors do. */
function errorOf(call: () => unknown): EdgewiseError {
  try {
    call()
  } catch (error) {
    if (error instanceof EdgewiseError) return error
    throw error
  }
  throw new Error('no error')
}

describe('ONNX Runtime for one machine', () => {
  it.each(TARGETS)('for %s has its binaries, the code that loads them, and nothing for others', (target) => {
    const paths = runtimeFor(target).files.map(({ to }) => to)
    const binaries = paths.filter((path) => path.includes('/bin/'))
    const own = `/${target.replace('-', '/')}/`
    expect(binaries.some((path) => path.endsWith('/onnxruntime_binding.node'))).toBe(true)
    expect(binaries.filter((path) => !path.includes(own))).toEqual([])
    expect(paths).toContain('node_modules/onnxruntime-node/dist/index.js')
    expect(paths).toContain('node_modules/onnxruntime-common/dist/cjs/index.js')
    expect(paths.filter((path) => /\.(map|ts|md)$|\/(script|lib|esm)\//.test(path))).toEqual([])
  })

  function fakeRuntime(name: string, files: readonly string[], common: string | null): string {
    const version = '9.9.9'
    const node = at(name, 'onnxruntime-node')
    write(join(node, 'package.json'), JSON.stringify({ name: 'onnxruntime-node', version }))
    for (const file of files) write(join(node, file), 'x')
    const beside = { name: 'onnxruntime-common', version: common }
    if (common !== null) write(at(name, 'onnxruntime-common', 'package.json'), JSON.stringify(beside))
    return node
  }
  const X64 = 'bin/napi-v6/linux/x64/onnxruntime_binding.node'

  it('says which machines a copy is for and which version has the others', () => {
    const { message } = errorOf(() => runtimeFor('linux-arm64', fakeRuntime('x64', [X64], '9.9.9')))
    for (const words of ['9.9.9', 'linux-arm64', 'linux-x64', '1.27.0', '--onnxruntime'])
      expect(message).toContain(words)
    const none = errorOf(() => runtimeFor('linux-arm64', fakeRuntime('none', ['dist/index.js'], '9.9.9')))
    expect(none.message).toContain('none at all')
  })

  it('leaves the libraries of GPU providers out', () => {
    const folder = dirname(X64)
    const files = ['onnxruntime_binding.node', 'libonnxruntime.so.1', 'libonnxruntime_providers_cuda.so']
    const fake = fakeRuntime(
      'cuda',
      files.map((file) => `${folder}/${file}`),
      '9.9.9',
    )
    const names = runtimeFor('linux-x64', fake).files.map(({ to }) => to)
    expect(names.filter((name) => name.includes('bin/'))).toHaveLength(2)
  })

  it('refuses a copy without its other half, with another one, and another package', () => {
    expect(errorOf(() => runtimeFor('linux-x64', fakeRuntime('alone', [X64], null))).message).toContain(
      'onnxruntime-common 9.9.9',
    )
    expect(errorOf(() => runtimeFor('linux-x64', fakeRuntime('odd', [X64], '1.0.0'))).message).toContain(
      '1.0.0',
    )
    expect(errorOf(() => runtimeFor('linux-x64', at('odd', 'onnxruntime-common')))).toBeInstanceOf(InputError)
    expect(errorOf(() => runtimeFor('linux-x64', at('nowhere')))).toBeInstanceOf(InputError)
  })
})

/** A pack with the files that are given, as a packing would have written it. */
function smallPack(name: string): string {
  const folder = at(name)
  rmSync(folder, { recursive: true, force: true })
  write(join(folder, 'edgewise.mjs'), 'console.log(1)\n')
  write(join(folder, 'models', 'm', 'config.json'), '{}')
  write(join(folder, 'node_modules', 'onnxruntime-node', 'package.json'), '{"main":"x"}')
  const text = describeFolder(folder, {
    format: PACK_FORMAT,
    version: 1,
    edgewise: '0.1.0',
    target: 'linux-arm64',
    node: '>=20',
    onnxruntime: '1.27.0',
    model: { id: 'm', fingerprint: 'f', argument: 'models/m' },
    bundle: null,
  })
  write(join(folder, 'manifest.json'), text)
  return folder
}

describe('checking a pack', () => {
  it('accepts what was packed, to the same hash each time', () => {
    const [a, b] = [readPack(smallPack('a')), readPack(smallPack('b'))]
    expect(a.manifestSha256).toBe(b.manifestSha256)
    expect(Object.keys(a.manifest.files)).toHaveLength(3)
  })

  it('names whatever file was changed, cut, grown, removed, added or linked', () => {
    const names = ['edgewise.mjs', 'models/m/config.json', 'node_modules/onnxruntime-node/package.json']
    const change = fc.constantFrom('flip', 'cut', 'grow', 'remove', 'add', 'link')
    const property = fc.property(fc.constantFrom(...names), change, fc.nat(), (name, kind, where) => {
      const folder = smallPack('changed')
      const path = join(folder, name)
      const bytes = readFileSync(path)
      if (kind === 'flip') bytes[where % bytes.length] ^= 1 << (where % 8)
      if (kind === 'flip') writeFileSync(path, bytes)
      if (kind === 'cut') writeFileSync(path, bytes.subarray(0, -1))
      if (kind === 'grow') writeFileSync(path, Buffer.concat([bytes, Buffer.from('\n')]))
      if (kind === 'remove') rmSync(path)
      if (kind === 'add') writeFileSync(`${path}.more`, '')
      if (kind === 'link') {
        cpSync(path, at('elsewhere'))
        rmSync(path)
        symlinkSync(at('elsewhere'), path)
      }
      const error = errorOf(() => readPack(folder))
      expect(error).toBeInstanceOf(IntegrityError)
      expect(error.message).toContain(kind === 'add' ? `${path}.more` : path)
    })
    fc.assert(property, { numRuns: 60 })
  })

  it('never leaves the folder, and refuses any manifest that is not one', () => {
    const folder = smallPack('forged')
    const place = join(folder, 'manifest.json')
    const manifest = JSON.parse(readFileSync(place, 'utf8'))
    const outside = digestOf(at('a', 'edgewise.mjs'))
    for (const path of ['../a/edgewise.mjs', at('a', 'edgewise.mjs'), '', '.']) {
      writeFileSync(place, JSON.stringify({ ...manifest, files: { [path]: outside } }))
      expect(errorOf(() => readPack(folder))).toBeInstanceOf(InputError)
    }
    const broken = fc.oneof(
      fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
      fc.json(),
      fc.tuple(fc.constantFrom(...Object.keys(manifest)), fc.jsonValue()).map(([key, value]) => {
        const forged = { ...manifest, [key]: value }
        return JSON.stringify(forged)
      }),
    )
    const property = fc.property(broken, (text) => {
      fc.pre(!sameManifest(text, manifest))
      writeFileSync(place, text)
      expect(errorOf(() => readPack(folder))).toBeInstanceOf(EdgewiseError)
    })
    fc.assert(property, { numRuns: 200 })
  })
})

/** Whether a text is a good manifest after all: free words may be any. */
function sameManifest(text: string, manifest: { files: unknown }): boolean {
  try {
    return JSON.stringify(JSON.parse(text).files) === JSON.stringify(manifest.files)
  } catch {
    return false
  }
}

describe.skipIf(!built)('a packed edge (skipped where dist is not built: `npm run build`)', () => {
  const here = thisMachine() as Target
  let bundle: string
  let packed: PackJson

  beforeAll(async () => {
    bundle = await exportFor('tales', 'policy')
    const argv = ['pack', '--model', 'tales', '--bundle', bundle, '--target', here]
    const { code, out, err } = await edgewise(...argv, '--out', at('edge'), '--json')
    expect(code, err).toBe(0)
    packed = packJsonSchema.parse(JSON.parse(out))
  })

  async function exportFor(model: string, name: string): Promise<string> {
    const engines = [await openEngine('native'), await openEngine('wasm')]
    const sizes = { random: 64, walks: 16, ties: 16 }
    await exportBundle(sourceOf(problemOf(model)), at(name), engines, { sizes })
    for (const engine of engines) await engine.close()
    return at(name)
  }

  /** The packed program, in its folder, with nothing of this repository in reach. */
  function device(...args: string[]) {
    const env = { PATH: process.env.PATH, HOME: at('home') }
    const { status, stdout, stderr } = spawnSync(process.execPath, ['edgewise.mjs', ...args], {
      cwd: at('edge'),
      env,
      encoding: 'utf8',
    })
    return { code: status, out: stdout, err: stderr }
  }

  it('is small, complete and says what it is', () => {
    expect(packed).toMatchObject({
      target: here,
      model: { id: 'tales', argument: 'tales' },
      bundle: 'policy',
    })
    expect(packed.programBytes).toBeLessThan(3e6)
    expect(packed.bytes).toBeLessThan(120e6)
    expect(filesBelow(at('edge'))).toHaveLength(packed.files + 1)
  })

  it('checks itself, decides and generates as this program does', async () => {
    const checked = packJsonSchema.parse(JSON.parse(device('pack', '--check', '.', '--json').out))
    expect(checked.manifestSha256).toBe(packed.manifestSha256)

    const asked = ['--up-mbps', '20', '--down-mbps', '50', '--rtt-ms', '40', '--json']
    const decided = device('decide', 'bundle', ...asked)
    expect(decided.code, decided.err).toBe(0)
    const own = JSON.parse((await edgewise('decide', bundle, ...asked)).out)
    expect(decideJsonSchema.parse(JSON.parse(decided.out)).plan).toEqual(decideJsonSchema.parse(own).plan)

    const edge = ['edge', '--model', 'tales', '--plan', 'edge', '--prompt', 'Once', '--max-new-tokens', '20']
    const generated = device(...edge, '--json')
    expect(generated.code, generated.err).toBe(0)
    const { out } = await edgewise(...edge, '--cache', at('cache'), '--json')
    const tokens = (text: string) => generationJsonSchema.parse(JSON.parse(text)).tokens
    expect(tokens(generated.out)).toEqual(tokens(out))
  })

  it('serves its policy over HTTP, and ends when it is told to', async () => {
    const listen = ['--listen', '127.0.0.1:0', '--log', at('log'), '--cache', at('cache')]
    const args = ['edgewise.mjs', 'edge', '--model', 'tales', '--bundle', 'bundle', ...listen]
    const child = spawn(process.execPath, args, { cwd: at('edge'), stdio: ['ignore', 'pipe', 'pipe'] })
    const ended = once(child, 'close')
    try {
      let text = ''
      child.stderr.on('data', (chunk) => (text += String(chunk)))
      const url = await new Promise<string>((found, failed) => {
        child.stdout.on('data', (chunk) => {
          text += String(chunk)
          const [, address] = /answers on (http:\S+)\/v1/.exec(text) ?? []
          if (address !== undefined) found(address)
        })
        void ended.then(() => failed(new Error(`ended early: ${text}`)))
      })
      const body = JSON.stringify({ model: 'tales', prompt: 'Once', max_tokens: 20, temperature: 0 })
      const headers = { 'content-type': 'application/json' }
      const answer = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body })
      expect(await answer.json()).toMatchObject({ usage: { prompt_tokens: 5, completion_tokens: 20 } })
      expect(await (await fetch(`${url}/metrics`)).text()).toContain('edgewise_queue_in_flight 0')
      child.kill('SIGTERM')
      expect(await ended).toEqual([EXIT_INTERRUPTED, null])
    } finally {
      child.kill('SIGKILL')
    }
  })

  it('has nowhere to pack another from, and says so', () => {
    const { code, err } = device('pack', '--model', 'tales', '--out', 'again')
    expect(code).toBe(2)
    expect(err).toContain('a packed device cannot pack another')
    expect(readdirSync(at('edge'))).not.toContain('again')
  })

  it('comes out the same twice: bytes, modes and dates', async () => {
    const argv = ['pack', '--model', 'tales', '--bundle', bundle, '--target', here]
    const mask = process.umask(0o077)
    const { code } = await edgewise(...argv, '--out', at('twice'))
    process.umask(mask)
    expect(code).toBe(0)
    expect(statSync(at('twice', 'models', 'tales')).mode & 0o777).toBe(0o755)
    const facts = (folder: string) =>
      filesBelow(folder).map((path) => {
        const { mode, mtimeMs } = statSync(join(folder, path))
        return { path, mode, mtimeMs, ...digestOf(join(folder, path)) }
      })
    expect(facts(at('twice'))).toEqual(facts(at('edge')))
  })

  it('is refused where something is there, for a policy of another model, and half-named; nothing is left', async () => {
    const before = readdirSync(scratch).sort()
    await exportFor('gpt2', 'other')
    const refused: readonly (readonly [string, ...string[]])[] = [
      ['something is there', '--model', 'tales', '--out', at('edge')],
      ['a policy for tales', '--model', 'tales', '--bundle', at('other'), '--out', at('new')],
      ['nothing', '--model', 'tales'],
      ['nothing', '--out', at('new')],
      ['expected: one of linux-x64', '--model', 'tales', '--out', at('new'), '--target', 'linux-mips'],
      ['no option of packing', '--check', at('edge'), '--out', at('new')],
      ['check the path', '--model', at('nowhere'), '--out', at('new')],
    ]
    for (const [words, ...argv] of refused) {
      const { code, err } = await edgewise('pack', ...argv)
      expect(code, err).toBe(2)
      expect(err).toContain(words)
    }
    expect(readdirSync(scratch).sort()).toEqual([...before, 'other'].sort())
  })

  it('exits 3 once a byte differs', () => {
    const path = at('edge', 'bundle', 'policy.onnx')
    const bytes = readFileSync(path)
    bytes[bytes.length >> 1] ^= 1
    writeFileSync(path, bytes)
    const { code, err } = device('pack', '--check', '.')
    expect(code).toBe(3)
    expect(err).toContain('policy.onnx')
  })
})
