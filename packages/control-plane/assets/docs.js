// Around the API page, which swagger-ui makes: a way back, and the colours that the person prefers
// (swagger-ui has both kinds, and leaves the choice to a bar that is not shown here).

const dark = matchMedia("(prefers-color-scheme: dark)");
const choose = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", choose);
choose();

const header = document.createElement("header");
const link = document.createElement("a");
link.href = "/";
link.textContent = "Holdfast";
header.append(link);
document.body.prepend(header);
