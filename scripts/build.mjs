import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { INTERRUPTED, root, runNode, tool } from './process.mjs'

const SOURCES = [
  'src',
  'envs',
  'bench',
  'tsdown.config.ts',
  'threads.config.ts',
  'tsconfig.json',
  'package.json',
  'package-lock.json',
]
const STAMP = join(root, 'dist', '.stamp')

/** Builds dist when the sources are not the ones it was built from. Returns the exit code. */
export async function build({ force = false } = {}) {
  const stamp = sourceStamp()
  if (!force && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === stamp) return 0
  removeAbandoned()
  const next = `dist.${process.pid}.tmp`
  const { code, output } = await runNode([tool('tsdown', 'dist', 'run.mjs'), '--out-dir', next], {
    quiet: true,
  })
  if (code !== 0) {
    rmSync(join(root, next), { recursive: true, force: true })
    if (code !== INTERRUPTED) process.stderr.write(`${output}\nbuild failed\n`)
    return code
  }
  writeFileSync(join(root, next, '.stamp'), stamp)
  swap(join(root, next), join(root, 'dist'))
  return 0
}

/** A hash of every source file's path and content. */
function sourceStamp() {
  const hash = createHash('sha256')
  for (const source of SOURCES) addTo(hash, source)
  return hash.digest('hex')
}

function addTo(hash, path) {
  const full = join(root, path)
  if (!existsSync(full)) return
  if (statSync(full).isDirectory()) {
    for (const name of readdirSync(full).sort()) addTo(hash, join(path, name))
  } else {
    hash.update(path).update('\0').update(readFileSync(full))
  }
}

/** Puts `next` in the place of `current`. */
function swap(next, current) {
  const old = `${next}.old.tmp`
  if (existsSync(current)) renameSync(current, old)
  renameSync(next, current)
  rmSync(old, { recursive: true, force: true })
}

/** Removes what builds left that were killed. */
function removeAbandoned() {
  for (const name of readdirSync(root)) {
    const pid = /^dist\.(\d+)\.tmp(\.old\.tmp)?$/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(root, name), { recursive: true, force: true })
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}
