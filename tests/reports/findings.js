// What is wrong with the page that is shown, a sentence each. Run by test_browser.py.
const found = [];
const visible = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(".hidden, [hidden]");

const parts = (colour) => {
  const numbers = colour.match(/[\d.]+(?:e-?\d+)?/g).map(Number);
  const scale = colour.startsWith("color(") ? 255 : 1;
  return [numbers[0] * scale, numbers[1] * scale, numbers[2] * scale, numbers.length > 3 ? numbers[3] : 1];
};
const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
const background = (element) =>
  element
    ? over(parts(getComputedStyle(element).backgroundColor), background(element.parentElement))
    : [255, 255, 255, 1];
const luminance = (colour) => {
  const [red, green, blue] = colour.slice(0, 3).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};

const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const text = texts.currentNode.textContent.trim();
  const element = texts.currentNode.parentElement;
  if (!text || !visible(element) || element.closest("script, style")) continue;
  const style = getComputedStyle(element);
  if (parseFloat(style.fontSize) < 12) found.push(`small text: ${text}`);
  const behind = background(element);
  const ratio = contrast(over(parts(style.color), behind), behind);
  if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${text}`);
}

const overlapping = (selector, within = document) => {
  const boxes = [...within.querySelectorAll(selector)].filter(visible);
  boxes.forEach((one, index) => {
    const a = one.getBoundingClientRect();
    for (const other of boxes.slice(index + 1)) {
      const b = other.getBoundingClientRect();
      if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
        found.push(`overlap: ${one.textContent.trim()} and ${other.textContent.trim()}`);
    }
  });
};
overlapping(".node");
document.querySelectorAll(".x-axis").forEach((axis) => overlapping("li", axis));
document.querySelectorAll(".tile, .node").forEach((box) => {
  if (box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1)
    found.push(`cut off: ${box.textContent.trim()}`);
});

if (document.scripts.length) found.push("there is a script");
if (document.querySelectorAll("main").length !== 1) found.push("there is not one main landmark");
let level = 0;
document.querySelectorAll("h1, h2, h3, h4, h5, h6").forEach((heading) => {
  const own = Number(heading.tagName[1]);
  if (own > level + 1) found.push(`heading skips a level: ${heading.textContent}`);
  level = own;
});
document.querySelectorAll("table").forEach((table) => {
  if (!table.caption && !table.closest(".prose")) found.push(`no caption: ${table.textContent.trim().slice(0, 40)}`);
});
document.querySelectorAll("svg").forEach((chart) => {
  if (!chart.ariaLabel && chart.ariaHidden !== "true" && !chart.ariaLabelledByElements?.length) found.push("a chart has no name");
});
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
if (new Set(ids).size !== ids.length) found.push("an id occurs twice");
return found;
