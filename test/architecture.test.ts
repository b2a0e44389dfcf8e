import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import tsdown from '../tsdown.config.ts'
import { DISTRICTS, PACKAGE_OWNERS, PUBLIC_ENTRIES } from './rooms.ts'

/** Where a clock and chance may be read: they are handed on from here. */
const MAY_READ_CLOCK = ['src/core/clock.ts', 'src/cli/']

const root = resolve(import.meta.dirname, '..')

interface Import {
  readonly specifier: string
  readonly typeOnly: boolean
}

function sourceFiles(): string[] {
  return ['src', 'envs'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(folder, file).split(sep).join('/')),
  )
}

const parsed = new Map<string, ts.SourceFile>()

/** Each text is parsed once, whichever checks look at it. */
function parse(text: string): ts.SourceFile {
  const file = parsed.get(text) ?? ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest)
  parsed.set(text, file)
  return file
}

/** Static, dynamic, re-exported and type imports of one source text. */
function importsOf(text: string): Import[] {
  const found: Import[] = []
  const visit = (node: ts.Node): void => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier !== undefined
    ) {
      const typeOnly = ts.isImportDeclaration(node)
        ? node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
        : node.isTypeOnly
      found.push({ specifier: (node.moduleSpecifier as ts.StringLiteral).text, typeOnly })
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const argument = node.arguments[0]
      if (ts.isStringLiteralLike(argument)) found.push({ specifier: argument.text, typeOnly: false })
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      found.push({ specifier: (node.argument.literal as ts.StringLiteral).text, typeOnly: true })
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
}

/** District and room of a path, or null. */
function placeOf(path: string): { district: string; room: string } | null {
  const found = Object.entries(DISTRICTS).find(([, { folder }]) => path.startsWith(`${folder}/`))
  if (found === undefined) return null
  const [district, { folder, rooms }] = found
  const parts = path.slice(folder.length + 1).split('/')
  if (rooms === undefined) return { district, room: '.' }
  const room = parts.length > 1 ? parts[0] : '.'
  const isEntry = Object.values(PUBLIC_ENTRIES).includes(path) && room === '.'
  return isEntry || rooms.includes(room) ? { district, room } : null
}

/** What is wrong with one file's imports. */
function importProblems(path: string, text: string): string[] {
  const place = placeOf(path)
  if (place === null) return [`${path}: lies in no room of the table`]
  return importsOf(text).flatMap(({ specifier, typeOnly }) => {
    if (specifier.startsWith('node:')) return []
    if (!specifier.startsWith('.')) return packageProblem(path, specifier, typeOnly)
    const target = relative(root, resolve(root, dirname(path), specifier))
      .split(sep)
      .join('/')
    const other = placeOf(target)
    if (other === null) return [`${path}: imports ${target}, which lies in no room`]
    if (Object.values(PUBLIC_ENTRIES).includes(path)) return []
    if (target.endsWith('/index.ts'))
      return [`${path}: imports the public entry ${target}: import the file itself`]
    return directionProblem(path, place, other)
  })
}

type Place = NonNullable<ReturnType<typeof placeOf>>

function directionProblem(path: string, from: Place, to: Place): string[] {
  const { imports, rooms, purpose } = DISTRICTS[from.district]
  if (from.district !== to.district) {
    if (Object.hasOwn(imports, to.district)) return []
    return [`${path}: ${from.district} may not import ${to.district}; ${from.district}: ${purpose}`]
  }
  if (rooms === undefined || rooms.indexOf(to.room) <= rooms.indexOf(from.room)) return []
  return [
    `${path}: ${from.district}/${from.room} may not import ${from.district}/${to.room}, which lies above it`,
  ]
}

function packageProblem(path: string, specifier: string, typeOnly: boolean): string[] {
  const parts = specifier.split('/')
  const name = specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]
  const owners = PACKAGE_OWNERS[name]
  if (typeOnly || owners === undefined || owners.some((owner) => path.startsWith(`src/${owner}/`))) return []
  return [`${path}: ${name} belongs to ${owners.join(', ')}`]
}

/** Reads of the clock or of chance in code (not in comments). */
function impureReads(path: string, text: string): string[] {
  if (MAY_READ_CLOCK.some((allowed) => path.startsWith(allowed))) return []
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const name = `${node.expression.text}.${node.name.text}`
      if (/^(Date\.now|Math\.random|performance\.now|process\.hrtime)$/.test(name))
        found.push(`${path}: ${name}`)
    }
    if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date') {
      if ((node.arguments?.length ?? 0) === 0) found.push(`${path}: new Date()`)
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
}

/** Threads that are not started from a module of the source, imported with `?thread`, which types and lint check. */
function uncheckedThreads(path: string, text: string): string[] {
  const programs = new Set<string>()
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (
      ts.isImportDeclaration(node) &&
      (node.moduleSpecifier as ts.StringLiteral).text.endsWith('.ts?thread')
    )
      programs.add(node.importClause?.name?.text ?? '')
    if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Worker') {
      const program = node.arguments?.[0]
      if (program === undefined || !ts.isIdentifier(program) || !programs.has(program.text))
        found.push(`${path}: a thread whose program is no module of the source`)
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
}

const files = sourceFiles().map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))

describe('the house', () => {
  it('imports only in the allowed directions', () => {
    expect(files.length).toBeGreaterThan(20)
    expect(files.flatMap(({ path, text }) => importProblems(path, text))).toEqual([])
  })

  it('has no arrow in the table that nothing uses, and no room that is empty', () => {
    const used = new Set<string>()
    const rooms = new Set<string>()
    for (const { path, text } of files) {
      const from = placeOf(path)
      if (from === null) continue
      rooms.add(`${from.district}/${from.room}`)
      for (const { specifier } of importsOf(text)) {
        const to = specifier.startsWith('.')
          ? placeOf(relative(root, resolve(root, dirname(path), specifier)))
          : null
        if (to !== null) used.add(`${from.district} -> ${to.district}`)
      }
    }
    const arrows = Object.entries(DISTRICTS).flatMap(([from, { imports }]) =>
      Object.keys(imports).map((to) => `${from} -> ${to}`),
    )
    expect(arrows.filter((arrow) => !used.has(arrow))).toEqual([])
    const listed = Object.entries(DISTRICTS).flatMap(([district, { rooms = ['.'] }]) =>
      rooms.map((room) => `${district}/${room}`),
    )
    expect(listed.filter((room) => !rooms.has(room))).toEqual([])
  })

  it('has a table whose arrows point down and that has a reason for each', () => {
    const order = Object.keys(DISTRICTS)
    for (const [from, { imports, purpose }] of Object.entries(DISTRICTS)) {
      expect(purpose).not.toBe('')
      for (const [to, reason] of Object.entries(imports)) {
        expect(order.indexOf(to), `${from} -> ${to}`).toBeLessThan(order.indexOf(from))
        expect(order).toContain(to)
        expect(reason).not.toBe('')
      }
    }
  })

  it('opens the public entries of the table and no other', () => {
    const built = tsdown.flatMap(({ entry }) => Object.entries(entry as Record<string, string>))
    const entries = built.filter(([name]) => name.startsWith('api/') || name === 'edge')
    const opened = Object.fromEntries(entries.map(([name, file]) => [name.replace('api/', ''), file]))
    expect(opened).toEqual(PUBLIC_ENTRIES)
  })

  it('reads clock and chance only where they are handed in', () => {
    expect(files.flatMap(({ path, text }) => impureReads(path, text))).toEqual([])
  })

  it('starts threads from modules, not from programs in strings', () => {
    expect(files.filter(({ text }) => text.includes('new Worker(')).length).toBeGreaterThan(1)
    expect(files.flatMap(({ path, text }) => uncheckedThreads(path, text))).toEqual([])
  })
})

describe('the checks themselves', () => {
  it('see every kind of import', () => {
    const text = `import a from './a.ts'\nimport type { B } from './b.ts'\nexport * from './c.ts'\nconst d = await import('./d.ts')\ntype E = import('./e.ts').E`
    expect(importsOf(text)).toEqual([
      { specifier: './a.ts', typeOnly: false },
      { specifier: './b.ts', typeOnly: true },
      { specifier: './c.ts', typeOnly: false },
      { specifier: './d.ts', typeOnly: false },
      { specifier: './e.ts', typeOnly: true },
    ])
  })

  it.each([
    ['src/core/x.ts', `import { Plan } from '../plan/plan.ts'`, 'core may not import plan'],
    ['src/plan/x.ts', `import { run } from '../../test/help.ts'`, 'lies in no room'],
    ['src/plan/price/x.ts', `import { solve } from '../oracle/solve.ts'`, 'lies above it'],
    ['src/learn/ppo/x.ts', `import { optimalPlan } from '../../plan/index.ts'`, 'the public entry'],
    ['src/sim/x.ts', `import * as ort from 'onnxruntime-node'`, 'belongs to core/engine'],
    ['src/attic/x.ts', '', 'lies in no room'],
    ['src/plan/attic/x.ts', '', 'lies in no room'],
  ])('refuse %s: %s', (path, text, problem) => {
    expect(importProblems(path, text).join('\n')).toContain(problem)
  })

  it('find a clock in code and not in a comment', () => {
    expect(impureReads('src/sim/x.ts', 'const t = Date.now() + Math.random() + +new Date()')).toHaveLength(3)
    expect(impureReads('src/sim/x.ts', '// no Date.now() here\nconst d = new Date(5)')).toEqual([])
    expect(impureReads('src/cli/x.ts', 'Date.now()')).toEqual([])
  })
})
