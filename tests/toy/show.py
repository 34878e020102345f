import matplotlib.pyplot as plt


def bars(summary):
    figure, axis = plt.subplots()
    axis.bar(["mean"], summary[summary.metric == "toy_mean"].value)
    return figure


def means(summary):
    return summary[summary.metric == "toy_mean"][["metric", "value", "low", "high"]]


def in_words(numbers):
    return numbers.set_index("metric").map("{:.2f}".format)
