import { existsSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { readText } from '../../core/files.ts'
import { check, parseJson } from '../../core/schema.ts'
import { filesBelow, type PackedFile } from './folder.ts'

/** Machines that ONNX Runtime publishes binaries for: platform and architecture as Node names them. */
export const TARGETS = ['linux-x64', 'linux-arm64', 'darwin-arm64', 'win32-x64', 'win32-arm64'] as const
/** A platform and processor that ONNX Runtime has a binary for. */
export type Target = (typeof TARGETS)[number]

/** A version whose npm package was seen to hold binaries of all TARGETS. */
const COMPLETE_VERSION = '1.27.0'
const MAX_PACKAGE_BYTES = 1024 * 1024

/** The target of the machine that this runs on. */
export const thisMachine = (): string => `${process.platform}-${process.arch}`

const packageSchema = z.object({
  name: z.string(),
  version: z.string(),
  dependencies: z.record(z.string(), z.string()).optional(),
})
type Package = z.infer<typeof packageSchema>

/** ONNX Runtime for one machine: what `require('onnxruntime-node')` loads there, by the CPU, and nothing else. */
interface Runtime {
  readonly version: string
  readonly files: readonly PackedFile[]
}

/**
 * The files of ONNX Runtime that `target` needs, out of an unpacked onnxruntime-node with onnxruntime-common beside
 * or below it. Throws InputError where the copy lacks either.
 */
export function runtimeFor(target: Target, folder = installedRuntime()): Runtime {
  const node = readPackage(folder, 'onnxruntime-node')
  const common = commonBeside(folder, node)
  const binaries = binariesOf(folder, node.version, target)
  return {
    version: node.version,
    files: [
      ...pick(folder, 'node_modules/onnxruntime-node', (path) => isLoaded(path) || isBinary(path, binaries)),
      ...pick(
        common,
        'node_modules/onnxruntime-common',
        (path) => isLoaded(path) && !path.startsWith('dist/esm/'),
      ),
    ],
  }
}

/** Folder of the onnxruntime-node that this program loads. */
function installedRuntime(): string {
  return dirname(dirname(createRequire(import.meta.url).resolve('onnxruntime-node')))
}

/** Code and what Node reads to find it; no types, no source maps, no install scripts. */
function isLoaded(path: string): boolean {
  return path === 'package.json' || /^dist\/.*\.(js|json)$/.test(path)
}

/** Libraries of GPU providers are never opened: sessions ask for the CPU. */
function isBinary(path: string, folder: string): boolean {
  return (
    path.startsWith(`${folder}/`) && !/providers_(cuda|tensorrt|rocm|migraphx|openvino|webgpu)/.test(path)
  )
}

function binariesOf(folder: string, version: string, target: Target): string {
  const all = binaryFolders(folder)
  const found = all.find((path) => path.endsWith(`/${target.replace('-', '/')}`))
  if (found !== undefined) return found
  const there = all.map((path) => path.split('/').slice(-2).join('-'))
  throw new InputError({
    where: `onnxruntime-node ${version} in ${folder}`,
    expected: `binaries for ${target}`,
    found: there.length === 0 ? 'none at all' : there.join(', '),
    remedy:
      `onnxruntime-node ${COMPLETE_VERSION} has them: npm install --ignore-scripts --prefix runtime ` +
      `onnxruntime-node@${COMPLETE_VERSION}, then --onnxruntime runtime/node_modules/onnxruntime-node`,
  })
}

/** E.g. `bin/napi-v6/linux/arm64`, of all machines the copy has a binding for. */
function binaryFolders(folder: string): string[] {
  const bin = join(folder, 'bin')
  if (!existsSync(bin)) return []
  const below = (path: string): string[] => readdirSync(join(folder, path)).map((name) => `${path}/${name}`)
  return below('bin')
    .flatMap(below)
    .flatMap(below)
    .filter((path) => existsSync(join(folder, path, 'onnxruntime_binding.node')))
    .sort()
}

function commonBeside(folder: string, { version, dependencies }: Package): string {
  const places = [
    join(folder, 'node_modules', 'onnxruntime-common'),
    resolve(folder, '..', 'onnxruntime-common'),
  ]
  const found = places.find((place) => existsSync(join(place, 'package.json')))
  const wanted = dependencies?.['onnxruntime-common'] ?? version
  const common = found === undefined ? null : readPackage(found, 'onnxruntime-common').version
  if (found !== undefined && common === wanted) return found
  throw new InputError({
    where: folder,
    expected: `onnxruntime-common ${wanted} beside it`,
    found: common ?? 'none',
    remedy: `let npm put both there: npm install --ignore-scripts --prefix runtime onnxruntime-node@${version}`,
  })
}

function readPackage(folder: string, name: string): Package {
  const path = join(folder, 'package.json')
  const found = check(packageSchema, parseJson(readText(path, MAX_PACKAGE_BYTES), path), path)
  if (found.name === name) return found
  throw new InputError({
    where: folder,
    expected: `the package ${name}`,
    found: found.name,
    remedy: `name the folder of ${name} itself, e.g. runtime/node_modules/${name}`,
  })
}

function pick(folder: string, to: string, wanted: (path: string) => boolean): PackedFile[] {
  return filesBelow(folder)
    .filter((path) => !path.startsWith('node_modules/') && wanted(path))
    .map((path) => ({ from: join(folder, path), to: `${to}/${path}` }))
}
